"""A run of pytest in which a test hangs, crashes, or leaves a process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = """
import ctypes, os, signal, subprocess, time
import pytest

def wait_for_ever():  # with the GIL, so that nothing of Python's can end it
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)

@pytest.fixture
def hanging():
    yield
    wait_for_ever()

def test_first():
    pass

@pytest.mark.timeout(1)
def test_hangs_in_python():
    time.sleep(1000)

@pytest.mark.timeout(1)
def test_hangs_in_native_code():
    wait_for_ever()

def test_between():
    assert "seen" == "once"

@pytest.mark.timeout(1)
def test_hangs_at_its_end(hanging):
    pass

def test_crashes():
    os.kill(os.getpid(), signal.SIGSEGV)

def test_leaves_a_process():
    print("left", subprocess.Popen(["sleep", "1000"]).pid)

def test_last():
    pass
"""
INI = """[pytest]
addopts = -n 1 --max-worker-restart=5
timeout = 60
timeout_method = signal
"""
"""One worker: pytest-xdist ends the run by an error of its own when it gives tests to a second one that has just died."""


PLUGINS = ("-p", "no:cacheprovider", "-p", "xdist", "-p", "pytest_timeout")
"""The plugins that the runs need. Each of their processes would import all that is installed."""


def _start(folder: Path, text: str, *options: str) -> subprocess.Popen[str]:
    (folder / "pytest.ini").write_text(INI)
    (folder / "conftest.py").write_text(
        "from support.guard import pytest_cmdline_main, pytest_runtest_protocol, pytest_unconfigure\n"
    )
    (folder / "test_it.py").write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-rA", *PLUGINS, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=kept
        | {
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "STEELYARD_TEST_GRACE_SECONDS": "5",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
    )


def test_each_test_that_hangs_or_crashes_fails_alone(tmp_path: Path) -> None:
    with _start(tmp_path, TESTS) as running:
        said, _ = running.communicate(timeout=240)

    assert 1 == running.returncode, said
    last = said[said.rindex("short test summary info") :]
    for name in ("first", "leaves_a_process", "last"):
        assert f"PASSED test_it.py::test_{name}\n" in last, said
    for name in ("hangs_in_python", "hangs_in_native_code", "between", "hangs_at_its_end", "crashes"):
        assert f"FAILED test_it.py::test_{name}" in last, said
    assert "5 failed" in last, said
    assert "in wait_for_ever" in said, said  # the stack of a hang that Python cannot end
    assert "crashed while running" in said, said
    assert "left running by the tests, and killed: sleep" in said, said


def test_after_a_few_such_tests_the_others_do_not_run(tmp_path: Path) -> None:
    text = "import os\n" + "".join(f"def test_{number}(): os._exit(0)\n" for number in range(20))
    with _start(tmp_path, text) as running:
        said, _ = running.communicate(timeout=240)

    assert 0 != running.returncode
    assert "maximum crashed workers reached: 5" in said, said


def test_a_run_that_does_not_end_after_its_summary_is_ended(tmp_path: Path) -> None:
    text = "import atexit, time\ndef test_it(): atexit.register(time.sleep, 1000)\n"
    with _start(tmp_path, text, "-n", "0") as running:
        said, _ = running.communicate(timeout=60)

    assert 1 == running.returncode, said
    assert "Timeout (0:00:05)!" in said[said.index("1 passed") :], said


def test_a_process_that_loses_its_parent_late_is_ended(tmp_path: Path) -> None:
    chain = "import subprocess, sys, time; n = int(sys.argv[1]); n and subprocess.Popen([sys.executable, '-S', '-c', sys.argv[2], str(n - 1), sys.argv[2]]); time.sleep(0.05 if n else 1000)"
    text = f"import subprocess, sys\nCHAIN = {chain!r}\ndef test_it(): subprocess.Popen([sys.executable, '-S', '-c', CHAIN, '20', CHAIN])\n"
    with _start(tmp_path, text, "-n", "0") as running:
        said, _ = running.communicate(timeout=60)

    assert 0 == running.returncode, said
    assert "left running by the tests, and killed: python" in said, said


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_tests_have_started_ends_when_pytest_is_killed(
    tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    text = "import os, subprocess\ndef test_it():\n"
    text += "    running = subprocess.Popen(['sleep', '1000'])\n"
    text += "    open('new', 'w').write(str(running.pid))\n    os.rename('new', 'pid')\n    running.wait()\n"
    with _start(tmp_path, text, "-n", workers) as running:
        pid = tmp_path / "pid"
        while not pid.exists():
            assert running.poll() is None
            time.sleep(0.01)
        started = Path("/proc", pid.read_text())
        assert _runs(started)
        running.send_signal(number)
        running.wait(60)

        end = time.monotonic() + 60
        while _runs(started):
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_tests_have_mounted_is_gone_with_them(tmp_path: Path, is_killed: bool) -> None:
    point = tmp_path / "point"
    point.mkdir()
    tried = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", point], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs the right to mount: {tried.stderr.strip()}")
    subprocess.run(["umount", point], check=True)
    text = "import os, subprocess, time\ndef test_it():\n"
    text += f"    subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', {str(point)!r}], check=True)\n"
    text += f"    assert os.path.ismount({str(point)!r})\n    open('mounted', 'x')\n    time.sleep({1000 if is_killed else 0})\n"
    with _start(tmp_path, text, "-n", "0") as running:
        while is_killed and not (tmp_path / "mounted").exists():
            assert running.poll() is None
            time.sleep(0.01)
        if is_killed:
            running.kill()
        said, _ = running.communicate(timeout=60)

    assert (tmp_path / "mounted").exists(), said
    assert not point.is_mount()
    point.rmdir()  # EBUSY while it is mounted


def _runs(process: Path) -> bool:
    """Return whether a process, given by its folder in /proc, has not ended."""
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except OSError:  # it was waited for, perhaps at this moment
        return False
