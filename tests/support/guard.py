"""No process that tests have started outlives the run of pytest, and no file system that they have mounted.

pytest forks a guard, and the guard forks the process that runs pytest. The kernel gives the guard every process below it that
loses its parent, and tells the guard when the first process is killed. The guard kills all of them at the end.

The guard has mounts of its own, and so has what runs below it: the kernel unmounts what they mount when the last of them ends.

A test that crashes, or hangs where pytest-timeout cannot end it, ends its process with it; under pytest-xdist it fails and
another process goes on.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

__all__ = ("pytest_cmdline_main", "pytest_runtest_protocol", "pytest_unconfigure")

GRACE_SECONDS = float(os.environ.get("STEELYARD_TEST_GRACE_SECONDS", "60"))
"""How long a test has, after its limit, to end by what pytest-timeout raises in the main thread."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_SLAVE = 1 << 14, 1 << 19


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Return None in the process that goes on, and its exit code in the process that the user started."""
    option = config.option
    if option.help or option.version or option.collectonly or hasattr(config, "workerinput"):
        return None
    # The terminal sends Ctrl-C to all of them; only the process that runs pytest acts on it.
    before = signal.signal(signal.SIGINT, _ignore)
    guard = _fork(signal.SIGTERM)
    if guard:
        return _wait(guard)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _have_own_mounts()
    signal.signal(signal.SIGTERM, _end_all)
    running = _fork(signal.SIGKILL)
    if running:
        code = _wait(running)
        killed, left = _kill_all()
        if killed:
            print(f"\nleft running by the tests, and killed: {', '.join(killed)}", flush=True)
        if left:
            print(f"\nnot ended {GRACE_SECONDS:g} s after they were killed: {', '.join(left)}", flush=True)
        os._exit(code or len(left))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A shell has its background jobs ignore SIGINT, and the workers would inherit that: tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler if before == signal.SIG_IGN else before)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the stacks and end the process, by an error, when it does not end by itself after it has printed its summary."""
    if not hasattr(config, "workerinput"):  # pytest-xdist kills a worker that does not end
        faulthandler.dump_traceback_later(GRACE_SECONDS, file=2, exit=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Print the stacks and end the process when a test goes past its limit, also where native code holds the GIL."""
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker is not None and marker.args else item.config.getini("timeout"))
    # pytest keeps the standard error that it started with: the present one goes to the report of the test.
    error = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(limit + GRACE_SECONDS, file=error, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _ignore(*_: object) -> None:
    pass


def _end_all(*_: object) -> NoReturn:
    _kill_all()
    os._exit(1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _have_own_mounts() -> None:
    """Keep what is mounted from now on from other processes. A user without the right to do so cannot mount either."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) == 0 and libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None) != 0:
        raise OSError(ctypes.get_errno(), "mounts would be seen by other processes")


def _fork(death: signal.Signals) -> int:
    """Fork a process that gets a signal when this one dies."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _prctl(_PR_SET_PDEATHSIG, death)
        if os.getppid() != parent:  # it has died already
            os._exit(1)
    return child


def _wait(child: int) -> int:
    """Wait until a child ends, and return its exit code; a guard waits for what lost its parent too."""
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _kill_all() -> tuple[list[str], list[str]]:
    """Kill all descendants; return the names of those that still ran, and of those that the kernel does not end in time."""
    ran: dict[int, str] = {}
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end:
        for pid in _children():
            with suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
                name, _, rest = stat.partition("(")[2].rpartition(")")
                if rest.split()[0] != "Z":
                    ran.setdefault(pid, f"{name} ({pid})")
                os.kill(pid, signal.SIGKILL)
        # The list may lack a process that lost its parent while it was made, so nothing waits here for more than a moment.
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return [*ran.values()], []
        time.sleep(0.01)
    return [*ran.values()], [ran.get(pid, str(pid)) for pid in _children()]


def _children() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state_and_parent = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
            if int(state_and_parent[1]) == os.getpid():
                found.append(int(entry.parent.name))
    return found
