"""Row 13: how long the event loop is held up while a store works hard."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._ground import cut_large_files, settle
from steelyard_bench._model import Contestant, Goal, Material, Metrics, Row, Scale, Start, Work
from steelyard_bench._rounds import cpu_seconds
from steelyard_bench._sources import write_random
from steelyard_bench._text import size

__all__ = ("stall",)

KIB = 1 << 10
MIB = 1 << 20
BEAT_SECONDS = 0.001
READERS = 10
READ_EVERY_SECONDS = 0.01
READ = 4 * KIB
YARDSTICKS = "the same by yardsticks on threads"
OF_1000, LONGEST = "stall_of_1_in_1000_seconds", "longest_stall_seconds"
BEATS = 10_000
"""The fewest of a round; three rounds have 30,000."""
LOADS = 100
"""More than a run of five rounds puts: its small files are there to the end."""

_PROCESSORS = (
    "the loop is awake and waits for a processor, or for the GIL of a thread that waits for one: low-priority threads use up "
    "their slices first, and a kernel without preemption ends their copies. Next: a kernel with preempt=full"
)


@dataclass(frozen=True)
class Load:
    """The blobs to put while the loop is watched.

    Attributes:
        files: large ones.
        blobs: small ones, in one piece of memory.
        total: bytes of the large ones.
        beats: the fewest beats of a round.
    """

    files: Sequence[Path]
    blobs: bytes
    total: int
    beats: int

    @property
    def pieces(self) -> list[memoryview]:
        """The small blobs."""
        view = memoryview(self.blobs)
        return [view[at : at + 4 * KIB] for at in range(0, len(view), 4 * KIB)]


@dataclass(frozen=True)
class Traffic:
    """The work that runs while the loop is watched.

    Attributes:
        jobs: functions that put blobs; each is called once.
        read: reads a small range at an offset; many tasks call it.
    """

    jobs: Sequence[Callable[[], Awaitable[object]]]
    read: Callable[[int], Awaitable[None]]


@dataclass
class Watched:
    """The observations of the loop so far.

    Attributes:
        late: by how many seconds each beat was late.
        reads: how many ranges were read.
        seconds, cpu_seconds: how long the loop was watched, and the processor time meanwhile.
    """

    late: list[float] = field(default_factory=list)
    reads: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def metrics(self, loads: int) -> Metrics:
        """Return the metrics of a round that put the load so many times; its times are those of one load."""
        late = sorted(self.late)
        return {
            "seconds": self.seconds / loads,
            "cpu_seconds": self.cpu_seconds / loads,
            OF_1000: late[int(len(late) * 0.999)],
            LONGEST: late[-1],
            "beats_count": len(late),
            "reads_each_second_count": self.reads / self.seconds,
        }


Prepare = Callable[[Load, Path], AbstractAsyncContextManager[Traffic]]
"""Prepares one load in a fresh folder."""


def stall(scale: Scale) -> Row[Load]:
    """Row 13: rows 3 and 4 and 1,000 small reads a second: stalls at most 1.5 times those of yardsticks on threads."""
    large, small = scale(16 * MIB), max(64, scale(10_000))
    return Row(
        number=13,
        title=f"the event loop while 64 files of {size(large)} and {small:,} blobs of 4 KiB are put, "
        f"and {READERS / READ_EVERY_SECONDS:,.0f} small ranges read each second",
        payload=None,
        material=_load(large, small, scale(BEATS)),
        contestants=(
            Contestant(name="steelyard", kind="steelyard", start=_repeating(_ours), durable=True),
            Contestant(
                name=YARDSTICKS,
                kind="yardstick",
                start=_repeating(_plain),
                durable=True,
                note="what this machine does to any loop; the ranges are read in the loop's own thread",
            ),
        ),
        goals=(
            Goal(contestant="steelyard", at_most=1.5, to=YARDSTICKS, metric=OF_1000, reason=_PROCESSORS),
            Goal(contestant="steelyard", at_most=1.5, to=YARDSTICKS, metric=LONGEST, over="most", reason=_PROCESSORS),
        ),
        space=2 * 64 * large + scale(LOADS * small * 5 * KIB),
        writes=64 * large,
        note=f"a task sleeps 1 ms at a time; its stall is by how much later than asked it comes back. "
        f"A round puts all again, into a fresh folder, until it has {scale(BEATS):,} beats",
    )


def _load(large: int, small: int, beats: int) -> Material[Load]:
    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Load]:
        paths = [folder / f"source-{number:02}" for number in range(64)]
        for path in paths:
            await anyio.to_thread.run_sync(write_random, path, large)
        yield Load(paths, os.urandom(small * 4 * KIB), 64 * large, beats)

    return material


def _repeating(prepare: Prepare) -> Start[Load]:
    """Return what puts the load again and again, until there are enough beats; the loop is only watched during the load."""

    @asynccontextmanager
    async def start(load: Load, place: Path) -> AsyncIterator[Work]:
        async def work() -> Metrics:
            watched = Watched()
            for number in count(1):
                folder = place / str(number)
                await anyio.to_thread.run_sync(folder.mkdir)
                async with prepare(load, folder) as traffic:
                    await anyio.to_thread.run_sync(settle, folder, load.total)
                    await _watch(traffic, watched)
                await anyio.to_thread.run_sync(cut_large_files, folder)
                if len(watched.late) >= load.beats:
                    break
            return watched.metrics(number)

        yield work

    return start


@asynccontextmanager
async def _ours(load: Load, place: Path) -> AsyncIterator[Traffic]:
    async with LocalStore(place / "store") as store:
        digest = (await store.put(os.urandom(MIB))).digest
        pieces = load.pieces  # before the loop is watched: to make them takes some milliseconds
        async with store.reader_at(digest) as reader:

            async def put_many() -> None:
                async for _ in store.put_many(pieces):
                    pass

            async def read(offset: int) -> None:
                await reader.read_at(offset, READ)

            yield Traffic([*(partial(store.put, path) for path in load.files), put_many], read)


@asynccontextmanager
async def _plain(load: Load, place: Path) -> AsyncIterator[Traffic]:
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

        yield Traffic([partial(anyio.to_thread.run_sync, function) for function in (put_large, put_small)], read)


async def _watch(traffic: Traffic, watched: Watched) -> None:
    """Run the jobs and the readers, and record by how much the loop was late meanwhile."""
    over = anyio.Event()
    reads = 0

    async def beat(*, task_status: TaskStatus[None]) -> None:
        task_status.started()
        last = time.perf_counter()
        # The test is after the beat: a stall at the very end counts, too.
        while True:
            await anyio.sleep(BEAT_SECONDS)
            now = time.perf_counter()
            watched.late.append(max(0.0, now - last - BEAT_SECONDS))
            last = now
            if over.is_set():
                break

    async def reader(number: int) -> None:
        nonlocal reads
        await anyio.sleep(READ_EVERY_SECONDS * number / READERS)
        while True:
            await traffic.read(READ * (number + reads % 16))
            reads += 1
            await anyio.sleep(READ_EVERY_SECONDS)

    async def job(function: Callable[[], Awaitable[object]]) -> None:
        await function()

    begun, cpu = time.perf_counter(), cpu_seconds()
    async with anyio.create_task_group() as watching:
        await watching.start(beat)
        async with anyio.create_task_group() as readers:
            for number in range(READERS):
                readers.start_soon(reader, number)
            async with anyio.create_task_group() as tasks:
                for function in traffic.jobs:
                    tasks.start_soon(job, function)
            readers.cancel_scope.cancel()
        watched.seconds += time.perf_counter() - begun
        watched.cpu_seconds += cpu_seconds() - cpu
        watched.reads += reads
        over.set()
