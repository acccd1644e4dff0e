"""Row 13: how long the event loop is held up while a store works hard."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._model import Contestant, Goal, Material, Metrics, Row, Scale, Work
from steelyard_bench._sources import write_random
from steelyard_bench._text import size

__all__ = ("stall",)

KIB = 1 << 10
MIB = 1 << 20
BEAT_SECONDS = 0.001
READERS = 10
READ_EVERY_SECONDS = 0.01
READ = 4 * KIB

_PROCESSORS = (
    "two processors for hashing, the kernel's writing and the loop: the loop waits for one, behind the kernel and threads that "
    "have a lower priority. The yardsticks stall it as long. Next: measure with four processors"
)


@dataclass(frozen=True)
class Load:
    """What is put while the loop is watched.

    Attributes:
        files: large ones.
        blobs: small ones, in one piece of memory.
    """

    files: Sequence[Path]
    blobs: bytes

    @property
    def pieces(self) -> list[memoryview]:
        """The small blobs."""
        view = memoryview(self.blobs)
        return [view[at : at + 4 * KIB] for at in range(0, len(view), 4 * KIB)]


def stall(scale: Scale) -> Row[Load]:
    """Row 13: rows 3 and 4 and 1,000 small reads a second: 99.9 % within 5 ms, none above 20 ms."""
    large, small = scale(16 * MIB), max(64, scale(10_000))
    longest = "longest_stall_seconds"
    return Row(
        number=13,
        title=f"the event loop while 64 files of {size(large)} and {small:,} blobs of 4 KiB are put, "
        f"and {READERS / READ_EVERY_SECONDS:,.0f} small ranges read each second",
        payload=None,
        material=_load(large, small),
        contestants=(
            Contestant(name="steelyard", kind="steelyard", start=_ours, durable=True),
            Contestant(
                name="the same by yardsticks on threads",
                kind="yardstick",
                start=_plain,
                durable=True,
                note="what this machine does to any loop; the ranges are read in the loop's own thread",
            ),
        ),
        goals=(
            Goal(
                contestant="steelyard", at_most=0.005, to=None, metric="stall_of_1_in_1000_seconds", reason=_PROCESSORS
            ),
            Goal(contestant="steelyard", at_most=0.020, to=None, metric=longest, over="most", reason=_PROCESSORS),
        ),
        space=2 * 64 * large,
        writes=64 * large,
        note="a task sleeps 1 ms at a time; its stall is by how much later than asked it comes back",
    )


def _load(large: int, small: int) -> Material[Load]:
    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Load]:
        paths = [folder / f"source-{number:02}" for number in range(64)]
        for path in paths:
            await anyio.to_thread.run_sync(write_random, path, large)
        yield Load(paths, os.urandom(small * 4 * KIB))

    return material


@asynccontextmanager
async def _ours(load: Load, place: Path) -> AsyncIterator[Work]:
    async with LocalStore(place / "store") as store:
        digest = (await store.put(os.urandom(MIB))).digest
        async with await store.reader_at(digest) as reader:

            async def put_many() -> None:
                async for done in store.put_many(load.pieces):
                    if done.error is not None:
                        raise done.error

            async def read(offset: int) -> None:
                await reader.read_at(offset, READ)

            jobs: list[Callable[[], Awaitable[object]]] = [partial(store.put, path) for path in load.files]
            yield partial(_watch, [*jobs, put_many], read)


@asynccontextmanager
async def _plain(load: Load, place: Path) -> AsyncIterator[Work]:
    large, small = place / "large", place / "small"
    large.mkdir()
    small.mkdir()

    def put_large() -> None:
        _yardsticks.ingest_each(load.files, large, algorithm="sha256", threads=os.cpu_count() or 1, durable=True)

    def put_small() -> None:
        _yardsticks.small(load.blobs, small, size=4 * KIB, threads=1, flush="batch", hashed=True)

    with load.files[0].open("rb", buffering=0) as file:

        async def read(offset: int) -> None:
            os.pread(file.fileno(), READ, offset)

        jobs = [partial(anyio.to_thread.run_sync, function) for function in (put_large, put_small)]
        yield partial(_watch, jobs, read)


async def _watch(jobs: Sequence[Callable[[], Awaitable[object]]], read: Callable[[int], Awaitable[None]]) -> Metrics:
    """Run the jobs and the readers, and tell by how much the loop was late meanwhile."""
    late: list[float] = []
    reads = [0]
    over = anyio.Event()

    async def beat(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        last = time.perf_counter()
        # Once more when all is over: what held the loop up at the very end is seen then.
        while not (over.is_set() and late):
            await anyio.sleep(BEAT_SECONDS)
            now = time.perf_counter()
            late.append(max(0.0, now - last - BEAT_SECONDS))
            last = now

    async def reader(number: int) -> None:
        await anyio.sleep(READ_EVERY_SECONDS * number / READERS)
        while True:
            await read(READ * (number + reads[0] % 16))
            reads[0] += 1
            await anyio.sleep(READ_EVERY_SECONDS)

    async def job(function: Callable[[], Awaitable[object]]) -> None:
        await function()

    begun = time.perf_counter()
    async with anyio.create_task_group() as watching:
        await watching.start(beat)
        async with anyio.create_task_group() as readers:
            for number in range(READERS):
                readers.start_soon(reader, number)
            async with anyio.create_task_group() as tasks:
                for function in jobs:
                    tasks.start_soon(job, function)
            readers.cancel_scope.cancel()
        seconds = time.perf_counter() - begun
        over.set()
    late.sort()
    return {
        "seconds": seconds,
        "stall_of_1_in_1000_seconds": late[int(len(late) * 0.999)],
        "longest_stall_seconds": late[-1],
        "reads_each_second_count": reads[0] / seconds,
    }
