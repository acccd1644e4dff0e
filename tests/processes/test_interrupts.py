"""Ctrl-C at steps of all pieces of work in `interrupted.py`, on each event loop.

By default a few steps of each are tried, and a few random times. `STEELYARD_INTERRUPTS=all` tries every step, and 200 random
times with the seed `STEELYARD_SEED`; it takes some minutes for each event loop, in memory if there is `/dev/shm`.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import anyio
import pytest
import trio
from support.interruption import is_our_coroutine
from support.make_archives import layout, one_image, tar

import steelyard
from processes.interrupted import WORKS, make_bucket, start
from steelyard import LocalStore
from steelyard._native import Port
from steelyard._runtime import calls
from steelyard._runtime.calls._asyncio import AsyncioLoop
from steelyard._runtime.calls._trio import TrioLoop
from steelyard._runtime.scopes import task_group
from steelyard.local.writer import LocalWriter

PROGRAM = Path(__file__).with_name("interrupted.py")
ALL = os.environ.get("STEELYARD_INTERRUPTS") == "all"
SEED = os.environ.get("STEELYARD_SEED", "1")
BACKENDS = ("asyncio", "uvloop", "trio", "bare")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if ALL else 300)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder with archives; every step is tried in memory, where syncs cost nothing."""
    if not ALL or not Path("/dev/shm").is_dir():
        yield prepared(tmp_path)
        return
    with TemporaryDirectory(dir="/dev/shm") as memory:
        yield prepared(Path(memory))


def prepared(folder: Path) -> Path:
    index, _, blobs = one_image([random.Random(number).randbytes(60_000) for number in range(1 if ALL else 3)])
    archive = tar(layout(index, blobs))
    (folder / "archive.tar").write_bytes(archive)
    (folder / "archive.tar.gz").write_bytes(gzip.compress(archive))
    (folder / "source").mkdir()
    (folder / "source" / "small").write_bytes(b"small")
    (folder / "source" / "large").write_bytes(bytes(1_500_000))
    return folder


def interrupted(how: str, backend: str, root: Path, *numbers: str) -> dict[str, tuple[int, int]]:
    """Run the program in a process of its own, and return for each piece of work the runs, and those that Ctrl-C ended."""
    if backend == "uvloop":
        pytest.importorskip("uvloop")
    command = [sys.executable, str(PROGRAM), how, backend, str(root), *numbers]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "STEELYARD_ALLOW_DEBUG": "1"}
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=3000 if ALL else 280
    )
    assert run.returncode == 0, run.stderr[-5000:]
    counts: dict[str, tuple[int, int]] = json.loads(run.stdout)
    return counts


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_at_any_step_ends_in_keyboard_interrupt_and_leaves_the_store_whole(backend: str, folder: Path) -> None:
    counts = interrupted("sweep", backend, folder, "0" if ALL else "6")

    assert list(counts) == list(WORKS)
    for name, (runs, ended) in counts.items():
        assert runs >= 6
        assert ended > runs // 2, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_at_a_random_time_never_hangs(backend: str, folder: Path) -> None:
    [(runs, _)] = interrupted("random", backend, folder, "200" if ALL else "12", SEED).values()

    assert runs >= 12


class InterruptedPort:
    """A port at which Ctrl-C comes right after it took the piece of that number."""

    def __init__(self, port: Port, at: int) -> None:
        self.port, self.left = port, at

    def take(self) -> list[tuple[object, object, BaseException | None]]:
        return self.port.take()

    def submit(self, *piece: object) -> None:
        self.port.submit(*piece)  # type: ignore[arg-type]
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("at", range(1, 8))
def test_ctrl_c_right_after_the_pool_took_a_piece_keeps_the_ingest(at: int, backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with LocalStore(tmp_path, durability="process-crash") as store:
            loop = calls._this_loop()
            assert isinstance(loop, AsyncioLoop | TrioLoop)
            port = InterruptedPort(loop._port, at)
            loop._port = port  # type: ignore[assignment]
            async with store.writer("ref") as writer:
                for _ in range(5):
                    await writer.write(bytearray(1_000_000))
                await writer.sync()
                await writer.commit()

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=backend)

    async def afterwards() -> int:
        async with LocalStore(tmp_path) as store, store.writer("ref") as writer:
            return writer.offset

    assert anyio.run(afterwards) in {0, *(number * 1_000_000 for number in range(6))}


def test_ctrl_c_in_the_first_step_of_what_ends_an_object_skips_nothing_on_trio(tmp_path: Path) -> None:
    """On asyncio it cancels the task at its next await."""
    held: list[LocalWriter] = []
    first_step = LocalWriter.aclose.__code__

    def press(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is first_step and not isinstance(frame.f_locals["self"], LocalStore):
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with LocalStore(tmp_path, durability="process-crash") as store:
            writer = await store.writer("ref")
            assert isinstance(writer, LocalWriter)
            held.append(writer)
            sys.setprofile(press)
            await writer.aclose()

    async def take() -> None:
        async with LocalStore(tmp_path) as store, store.writer("ref"):
            pass

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend="trio")

    assert sys.getprofile() is None
    anyio.run(take)  # the ref is free, though the writer is still referenced
    held.clear()


def test_trio_interrupts_no_coroutine_of_ours_but_at_a_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn: set[str] = set()

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and is_our_coroutine(frame) and not trio.lowlevel.currently_ki_protected():
            torn.add(frame.f_code.co_qualname)

    (folder / "large").write_bytes(bytes(9 << 20))
    monkeypatch.setattr("steelyard.objects._store.ObjectClient", None)
    monkeypatch.setattr("steelyard.objects._store.Requests", None)
    make_bucket()
    for work in WORKS.values():
        start("trio", work, folder)
        sys.setprofile(look)
        try:
            start("trio", work, folder)
        finally:
            sys.setprofile(None)

    assert torn == set()


LOADED_LATE = """
import sys, anyio, trio
from steelyard import LocalStore

def look(frame, event, _):
    if event == "call" and frame.f_code.co_qualname in {"MemoryStore.list_statuses", "DirectoryLayout.digests"}:
        print(frame.f_code.co_name, trio.lowlevel.currently_ki_protected())

async def main():
    async with LocalStore(sys.argv[1], durability="process-crash"):
        assert "steelyard.memory" not in sys.modules
        from steelyard import MemoryStore
        async with MemoryStore() as store:
            sys.setprofile(look)
            await store.list_statuses()
            sys.setprofile(None)
        assert "steelyard.images" not in sys.modules
        import steelyard.images.layout
        async with steelyard.images.layout.DirectoryLayout(sys.argv[1] + "/layout") as layout:
            sys.setprofile(look)
            await layout.digests()
            sys.setprofile(None)

anyio.run(main, backend="trio")
"""


def test_trio_interrupts_no_coroutine_of_a_module_that_was_loaded_late(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED_LATE, folder / "store"], capture_output=True, text=True)

    assert ({"list_statuses True", "digests True"}, "") == (set(done.stdout.splitlines()), done.stderr)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_in_a_task_group_of_ours_is_no_exception_group(backend: str) -> None:
    async def main() -> None:
        async with task_group() as outer, task_group() as tasks:
            tasks.start_soon(anyio.sleep, 30)
            outer.start_soon(anyio.sleep, 30)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=backend)


def test_our_code_opens_no_scope_that_ctrl_c_can_tear() -> None:
    """The command line aside, which receives the signal in a task."""
    package = Path(steelyard.__file__).parent
    aside = {"cli", "testing"}
    torn = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if not aside & set(path.relative_to(package).parts) and path.name != "scopes.py"
        for words in ("create_task_group(", "@asynccontextmanager", "@contextlib.asynccontextmanager")
        if words in path.read_text()
    ]

    assert torn == []


def test_our_code_leaves_no_coroutine_unawaited() -> None:
    """Python looks for signals after a call of native code, and after each call with ``*args``, before the ``await``."""
    package = Path(steelyard.__file__).parent
    left = [
        f"{path.relative_to(package)}:{call.lineno}"
        for path in package.rglob("*.py")
        if not {"cli", "testing"} & set(path.relative_to(package).parts)
        for call in awaited_calls(ast.parse(path.read_text()))
        if ast.unparse(call.func) == "anext"
        or any(isinstance(argument, ast.Starred) for argument in call.args)
        or any(keyword.arg is None for keyword in call.keywords)
    ]

    assert left == []


def awaited_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Iterate over the calls that are awaited where they are made, but for those in functions that are `uninterrupted`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.AsyncFunctionDef) and "uninterrupted" in map(ast.unparse, node.decorator_list):
            continue
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call):
            yield node.value
        yield from awaited_calls(node)
