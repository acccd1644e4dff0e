"""Every program under examples/ runs and does what its docstring says."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from fetch.server import running, whole
from support.make_images import keep_two_platforms

from steelyard import LocalStore, MemoryStore
from steelyard.containerd import RemoteStore
from steelyard.images import ImagesOf, import_images

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NAME = "docker.io/demo/app:1"
pytestmark = pytest.mark.slow


def _environment() -> dict[str, str]:
    """Return an environment whose programs import what the tests import, installed or not."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)], env=_environment(), capture_output=True, text=True
    )


@pytest.fixture
def memory() -> Iterator[Path]:
    """Give a folder in memory, if there is one: hundreds of tests that sync may take minutes on a busy disk."""
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


def _damage(root: Path) -> Path:
    """Flip one byte of the first blob, as a bad disk would."""
    path = next(path for path in sorted((root / "blobs").rglob("*")) if path.is_file())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o444)
    return path


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")

    assert [] == [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in text]


def test_import_tree_writes_nothing_the_second_time(tmp_path: Path) -> None:
    first = _run(EXAMPLES / "import_tree.py", tmp_path / "store", ROOT / "python")
    assert first.returncode == 0, first.stderr
    second = _run(EXAMPLES / "import_tree.py", tmp_path / "store", ROOT / "python")
    assert second.returncode == 0, second.stderr

    assert ", 0 of them new, 0 failed" in second.stdout
    assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1]


def test_resume_download_goes_on_where_the_line_dropped(tmp_path: Path) -> None:
    done = _run(EXAMPLES / "resume_download.py", tmp_path / "store")
    assert done.returncode == 0, done.stderr

    offsets = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("from ")]
    assert [0, 3_000_000, 5_500_000] == offsets


def test_download_files_goes_on_after_a_kill(tmp_path: Path) -> None:
    """3,000 files, killed after a third of them: only those are requested again that were on their way, or not yet reported."""
    files = {f"files/{number}.txt": f"file {number}\n".encode() * 100 for number in range(3000)}
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    with running() as server:
        for name, data in files.items():
            server.plan(f"/{name}", whole(data))
        url = server.plan("/SHA256SUMS", whole("".join(lines).encode()))
        words = [str(EXAMPLES / "download_files.py"), str(tmp_path / "store"), url]
        program = [sys.executable, "-W", "error", *words]
        with subprocess.Popen(program, env=_environment(), stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout is not None
            for line in killed.stdout:
                if line == "1000 of 3000 files, 1000 of them downloaded\n":
                    killed.kill()
        assert -signal.SIGKILL == killed.returncode
        first = {request.path for request in server.requests}
        before = len(server.requests)
        done = _run(*words)
        assert done.returncode == 0, done.stderr
        again = [request.path for request in server.requests[before:]]

    assert 1000 <= len(first) < 2000
    assert 1 <= len(first & set(again)) <= 100
    assert len(set(again)) == len(again)
    assert {f"/{name}" for name in files} <= first | set(again)
    last = done.stdout.splitlines()[-1]
    assert f"3000 of 3000 files, {len(again) - 1} of them downloaded" == last

    async def check() -> None:
        async with LocalStore(tmp_path / "store") as store:
            images = {image.name: image.target.digest for image in await store.images.list()}
            for name, data in files.items():
                assert data == await store.get(images[url.replace("SHA256SUMS", name)])

    anyio.run(check)


def test_repair_takes_the_good_copy_of_the_second_store(tmp_path: Path) -> None:
    for name in ("store", "second"):
        assert _run(EXAMPLES / "import_tree.py", tmp_path / name, ROOT / "examples").returncode == 0
    damaged = _damage(tmp_path / "store")

    repair = (EXAMPLES / "repair.py", tmp_path / "store", tmp_path / "second")
    first, second = _run(*repair), _run(*repair)

    assert f"{damaged.parent.name}:{damaged.name}: repaired\n" == first.stdout, first.stderr
    assert "" == second.stdout, second.stderr
    assert damaged.read_bytes() == (tmp_path / "second" / damaged.relative_to(tmp_path / "store")).read_bytes()


def test_mirror_changes_copies_each_blob_once(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(300):
        (folder / str(number)).write_text(str(number % 200))
    mirror = (EXAMPLES / "mirror_changes.py", tmp_path / "store", tmp_path / "second", folder)
    first, second = _run(*mirror), _run(*mirror)

    assert first.stdout == "200 blobs copied\n", first.stderr
    assert second.stdout == "0 blobs copied\n", second.stderr
    assert 200 == len(list((tmp_path / "second" / "blobs" / "sha256").iterdir()))


@pytest.mark.parametrize(
    ("name", "tests"),
    [
        ("own_store.py", ""),
        ("sqlite_store.py", "both_forms or abort_fences or every_end_of_a_writer"),
        pytest.param("sqlite_store.py", "", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_a_store_of_ones_own_passes_the_contract_suite(name: str, tests: str, memory: Path) -> None:
    options = ("-n", "0", "-p", "no:cacheprovider", f"--rootdir={ROOT}", f"--basetemp={memory / 'tests'}")
    done = _run("-m", "pytest", "-q", "-k", tests, *options, EXAMPLES / name)

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_copy_from_containerd_copies_nothing_the_second_time(
    isolated_containerd: str, namespace: str, tmp_path: Path
) -> None:
    async def main() -> None:
        source = MemoryStore()
        await keep_two_platforms(source, NAME)
        async with RemoteStore(isolated_containerd, namespace=namespace) as containerd:
            await import_images(containerd, ImagesOf(source, (NAME,)))

    anyio.run(main)
    program = (EXAMPLES / "copy_from_containerd.py", isolated_containerd, namespace, NAME, tmp_path / "store")
    first, second = _run(*program), _run(*program)

    assert first.returncode == 0, first.stderr
    assert f"{NAME}: 8 new blobs, complete" == first.stdout.splitlines()[-1]
    assert f"{NAME}: 0 new blobs, complete" == second.stdout.splitlines()[-1], second.stderr


def test_every_example_is_at_hand_in_the_docs() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))

    assert [] == [path.name for path in EXAMPLES.glob("*.py") if path.name not in pages]
