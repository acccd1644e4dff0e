"""Results that own something, when asyncio cancels the task that waits: however often it does, all of it is closed.

asyncio's `Task.cancel` is said once and held off by no shield. So a hop that it interrupts raises it in place of its result.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import gzip
import itertools
import os
import random
import threading
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.make_archives import layout, one_image, tar

from steelyard import LocalStore
from steelyard._native import Port
from steelyard._runtime import calls
from steelyard._runtime.calls import OpenFile, run
from steelyard._runtime.calls._asyncio import AsyncioLoop
from steelyard.images import DirectoryLayout, export_images, import_images

PACKAGE = Path(__file__).parents[2] / "python" / "steelyard"


class Owner:
    """Something that a call opened."""

    def __init__(self) -> None:
        self.closed = 0
        self.go = threading.Event()

    def close(self) -> None:
        assert self.go.wait(30)
        self.closed += 1


@pytest.mark.parametrize("cancels", [1, 2, 3, 7])
def test_the_result_of_a_call_without_a_receiver_is_closed_however_often_its_task_is_cancelled(cancels: int) -> None:
    owner, begun, opened = Owner(), threading.Event(), threading.Event()

    def piece() -> tuple[Owner, int]:
        begun.set()
        assert opened.wait(30)
        return owner, 1

    async def main() -> None:
        task = asyncio.create_task(run(piece))
        await asyncio.to_thread(begun.wait)  # a call that has not begun is cancelled, and opens nothing
        for number in range(cancels):
            task.cancel()
            await asyncio.sleep(0.005)
            if number == 0:
                opened.set()  # later cancellations come while it is closed
                await asyncio.sleep(0.005)
        assert not task.done()
        owner.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert owner.closed == 1


def test_a_cancellation_that_comes_with_the_result_closes_it() -> None:
    """The future has its result, and the task has not gone on yet."""
    owner = Owner()
    owner.go.set()

    async def main() -> None:
        task = asyncio.create_task(run(lambda: owner))
        loop = asyncio.get_running_loop()
        delivered = asyncio.Event()
        original = AsyncioLoop._give

        def give(self: AsyncioLoop, *result: object) -> None:
            original(self, *result)  # type: ignore[arg-type]
            if result[1] is owner:
                task.cancel()
                loop.call_soon(delivered.set)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AsyncioLoop, "_give", give)
            task.cancelled()
            await delivered.wait()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert owner.closed == 1


def test_an_error_without_a_receiver_is_not_kept() -> None:
    class Error(Exception):
        broken: BaseException

    async def main() -> weakref.ref[Error]:
        begun, go = threading.Event(), threading.Event()
        error = Error()

        def piece() -> None:
            begun.set()
            assert go.wait(30)
            raise error

        async def caller() -> None:
            try:
                await run(piece)
            except asyncio.CancelledError as broken:
                error.broken = broken  # whose traceback leads to the future that was cancelled
                raise

        task = asyncio.create_task(caller())
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)  # the task has it
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return weakref.ref(error)

    with asyncio.Runner() as runner:
        error = runner.run(main())
        gc.collect()
        assert error() is None


def test_an_open_file_closes_with_its_last_reference() -> None:
    file = OpenFile(os.open(os.devnull, os.O_RDONLY))
    number = file.fileno()
    assert os.fstat(number)
    del file
    gc.collect()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.slow
def test_no_hop_returns_a_bare_descriptor() -> None:
    """`run(os.open, …)`, or a function beside it whose own `return` is a descriptor."""
    bare = {"os.open", "os.dup", "os.memfd_create", "os.eventfd", "os.pipe", "tempfile.mkstemp"}
    found = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            if ast.unparse(call.func).split(".")[-1] not in {
                "run",
                "run_always",
                "run_job",
                "start",
                "watched",
                "whole",
            }:
                continue
            names = {ast.unparse(argument) for argument in call.args}
            bodies = [functions[name] for name in names & functions.keys()]
            returned = [
                ast.unparse(node.value.func)
                for body in bodies
                for node in ast.walk(body)
                if isinstance(node, ast.Return) and isinstance(node.value, ast.Call)
            ]
            if bare & (names | set(returned)):
                found.append(f"{path.name}:{call.lineno}")

    assert found == []


class CancellingPort:
    """A port that has the loop cancel a task right after it took the call of that number, once or at several steps."""

    def __init__(self, port: Port, at: int, cancels: int) -> None:
        self.port, self.left, self.cancels = port, at, cancels
        self.task: asyncio.Task[object] | None = None

    def take(self) -> list[tuple[object, object, BaseException | None]]:
        return self.port.take()

    def submit(self, function: Callable[..., object], args: tuple[object, ...], ticket: object) -> None:
        self.port.submit(function, args, ticket)
        self.left -= 1
        if self.left == 0:
            self.cancel_task(self.cancels)

    def cancel(self, function: Callable[..., object], ticket: object) -> None:
        self.port.cancel(function, ticket)

    def forget(self, ticket: object) -> None:
        self.port.forget(ticket)

    def cancel_task(self, times: int) -> None:
        if times and self.task is not None:
            self.task.cancel()
            asyncio.get_running_loop().call_soon(self.cancel_task, times - 1)


def open_files() -> list[str]:
    """Return what the descriptors of this process are of, sockets and events of event loops aside."""
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            found.append(str(entry.readlink()))
        except OSError:  # the descriptor that read the directory itself
            continue
    return sorted(name for name in found if name.startswith("/"))


async def _import(store: LocalStore, folder: Path) -> None:
    await import_images(store, folder / "archive.tar", name="docker.io/library/again:1")


async def _import_compressed(store: LocalStore, folder: Path) -> None:
    await import_images(store, folder / "archive.tar.gz", name="docker.io/library/again:1")


async def _export(store: LocalStore, folder: Path) -> None:
    await export_images(store, folder / "exported.tar", ["docker.io/library/again:1"])


async def _export_layout(store: LocalStore, folder: Path) -> None:
    async with DirectoryLayout(folder / "exported") as layout:
        await export_images(store, layout, ["docker.io/library/again:1"])


async def _put(store: LocalStore, folder: Path) -> None:
    await store.put(folder / "large")
    async with store.writer("ref") as writer:
        await writer.write(bytearray(os.urandom(500_000)))
        await writer.commit()
    async with store.reader_at((await store.put(b"small")).digest) as reader:
        await reader.read_at(0, 5)
    [info async for info in store.walk()]


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("work", "cancels"),
    [(_import, 1), (_import, 2), (_import, 3), (_import_compressed, 2), (_export, 2), (_export_layout, 2), (_put, 3)],
)
def test_a_task_that_is_cancelled_in_any_hop_leaves_no_file_open(
    work: Callable[[LocalStore, Path], Awaitable[None]], cancels: int, every: int, tmp_path: Path
) -> None:
    index, _, blobs = one_image([random.Random(number).randbytes(60_000) for number in range(3)])
    (tmp_path / "archive.tar").write_bytes(tar(layout(index, blobs)))
    (tmp_path / "archive.tar.gz").write_bytes(gzip.compress((tmp_path / "archive.tar").read_bytes()))
    (tmp_path / "large").write_bytes(bytes(9 << 20))

    async def cancelled_at(store: LocalStore, at: int) -> bool:
        loop = calls._this_loop()
        assert isinstance(loop, AsyncioLoop)
        port = CancellingPort(loop._port, at, cancels)
        loop._port = port  # type: ignore[assignment]
        task = port.task = asyncio.create_task(work(store, tmp_path))  # type: ignore[arg-type]
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)  # in this step asyncio itself still has the error, and so the frames
        loop._port = port.port
        return port.left <= 0

    async def main() -> None:
        async with LocalStore(tmp_path / "store", durability="process-crash") as store:
            await import_images(store, tmp_path / "archive.tar", name="docker.io/library/again:1")
            await work(store, tmp_path)
            await run(int)
            gc.collect()
            before = Counter(open_files())
            for at in itertools.count(min(cancels, every), every):
                reached = await cancelled_at(store, at)
                assert asyncio.all_tasks() == {asyncio.current_task()}, f"cancelled in hop {at}"
                gc.collect()
                assert not Counter(open_files()) - before, f"cancelled in hop {at}"
                if not reached:
                    break
            assert at > 3
            # No lock is left either: the ref is free.
            await (await store.writer("ref")).aclose()

    asyncio.run(main())
