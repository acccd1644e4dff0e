"""The work that is counted: each job through the public API, in a store in memory (tmpfs), after a warm-up of the same kind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio

from steelyard.local import LocalStore

__all__ = ("JOBS", "Job", "Prepare", "Work", "slacks")

KIB = 1 << 10
MIB = 1 << 20

Work = Callable[[], Awaitable[None]]
Prepare = Callable[[LocalStore, Path], Awaitable[Work]]
"""Gives the work, for an open store and a folder for what else is needed; called once to warm up and once to count."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something that a store does.

    Attributes:
        name: begins the names of its values.
        unit: what its counts are for each of.
        items: how many of these there are.
        size: bytes of what is put or read; 0 where bytes are not the point.
        prepare: gives the work.
        durable: how the store is opened.
        steady: whether its system calls repeat; where tasks meet by chance, only its hops and wakes are compared.
        left_out: counts that do not repeat: kinds of call, or "calls" for all of them together.
        chance: how many more of a kind the job may have on another machine: where the loop and the workers meet, hops,
            wakes and syncs depend on who is quicker.
    """

    name: str
    unit: str
    items: int
    size: int
    prepare: Prepare
    durable: bool = True
    steady: bool = True
    left_out: tuple[str, ...] = ()
    chance: Mapping[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def start(self, place: Path) -> AsyncIterator[Work]:
        """Warm up and prepare, in a fresh folder; what it gives is counted."""
        async with LocalStore(place / "store", durability="power-loss" if self.durable else "process-crash") as store:
            await (await self.prepare(store, place))()
            yield await self.prepare(store, place)


def _blobs(count: int, size: int) -> list[bytes]:
    return [os.urandom(size) for _ in range(count)]


async def _put_all(store: LocalStore, blobs: Iterable[bytes] | AsyncIterable[bytes]) -> None:
    async with aclosing(store.put_many(blobs)) as results:
        async for _ in results:
            pass


async def _empty(store: LocalStore) -> None:
    """Delete what the warm-up stored."""
    for info in [info async for info in store.walk()]:
        await store.delete(info.digest)


async def _ignore(work: Awaitable[object]) -> None:
    await work


def _put_many(count: int, size: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        blobs = _blobs(count, size)
        return partial(_put_all, store, blobs)

    return prepare


def _put_async_iterable(count: int, size: int) -> Prepare:
    async def each(blobs: list[bytes]) -> AsyncIterator[bytes]:
        for blob in blobs:
            yield blob

    async def prepare(store: LocalStore, _: Path) -> Work:
        blobs = _blobs(count, size)
        return lambda: _put_all(store, each(blobs))

    return prepare


def _put_each(count: int, size: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        blobs = _blobs(count, size)

        async def work() -> None:
            for blob in blobs:
                await store.put(blob)

        return work

    return prepare


def _put_at_once(count: int, size: int, tasks: int) -> Prepare:
    async def put_rest(store: LocalStore, left: Iterator[bytes]) -> None:
        for blob in left:
            await store.put(blob)

    async def prepare(store: LocalStore, _: Path) -> Work:
        left = iter(_blobs(count, size))

        async def work() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(tasks):
                    group.start_soon(put_rest, store, left)

        return work

    return prepare


def _put_file(size: int) -> Prepare:
    async def prepare(store: LocalStore, place: Path) -> Work:
        path = place / "source"
        await anyio.Path(path).write_bytes(os.urandom(size))
        return lambda: _ignore(store.put(path))

    return prepare


def _write(size: int, step: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        piece = os.urandom(step)

        async def work() -> None:
            async with store.writer(f"ref {os.urandom(8).hex()}") as writer:
                await writer.write(os.urandom(step))
                for _ in range(size // step - 1):
                    await writer.write(piece)
                await writer.commit(size=size)

        return work

    return prepare


def _write_each(count: int, size: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        blobs = _blobs(count, size)

        async def work() -> None:
            for blob in blobs:
                async with store.writer("ref") as writer:
                    await writer.write(blob)
                    await writer.commit(size=size)

        return work

    return prepare


def _get(size: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        digest = (await store.put(os.urandom(size))).digest
        return lambda: _ignore(store.get(digest))

    return prepare


def _stream(size: int, most: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        digest = (await store.put(os.urandom(size))).digest

        async def work() -> None:
            async with store.reader_at(digest) as reader:
                stream = reader.stream()
                with suppress(anyio.EndOfStream):
                    while True:
                        await stream.receive(most)

        return work

    return prepare


def _ranges(count: int, size: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        digest = (await store.put(os.urandom(MIB))).digest
        buffer = bytearray(size)

        async def work() -> None:
            async with store.reader_at(digest) as reader:
                for number in range(count):
                    await reader.readinto_at(number * size % MIB, buffer)

        return work

    return prepare


def _verify(count: int, size: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        await _empty(store)
        await _put_all(store, _blobs(count, size))

        async def work() -> None:
            async for found in store.verify_all():
                if found.error is not None:
                    raise found.error

        return work

    return prepare


def _walk(count: int) -> Prepare:
    async def prepare(store: LocalStore, _: Path) -> Work:
        await _empty(store)
        await _put_all(store, _blobs(count, 64))

        async def work() -> None:
            found = [info async for info in store.walk()]
            assert count == len(found)

        return work

    return prepare


_job = partial(Job, unit="blob")

JOBS = (
    _job(
        name="put_many of 500 x 4 KiB",
        items=500,
        size=500 * 4 * KIB,
        prepare=_put_many(500, 4 * KIB),
        chance={"syncs": 4},
    ),
    _job(
        name="put_many of 500 x 4 KiB, unsynced",
        items=500,
        size=500 * 4 * KIB,
        prepare=_put_many(500, 4 * KIB),
        durable=False,
    ),
    _job(
        name="put_many of an async iterable of 500 x 4 KiB",
        items=500,
        size=500 * 4 * KIB,
        prepare=_put_async_iterable(500, 4 * KIB),
        chance={"syncs": 4},
    ),
    _job(name="put of 4 KiB, 50 in turn", items=50, size=50 * 4 * KIB, prepare=_put_each(50, 4 * KIB)),
    _job(
        name="put of 4 KiB, 1024 by 256 tasks",
        items=1024,
        size=1024 * 4 * KIB,
        prepare=_put_at_once(1024, 4 * KIB, 256),
        steady=False,
        # From 7 to 9 were seen, on two processors; a hop for each blob would be 1,024.
        chance={"hops": 24, "wakes": 24},
    ),
    _job(name="writers of 4 KiB, 50 in turn", items=50, size=50 * 4 * KIB, prepare=_write_each(50, 4 * KIB)),
    Job(name="put of a file of 8 MiB", unit="MiB", items=8, size=8 * MIB, prepare=_put_file(8 * MIB)),
    Job(
        name="8 MiB in writes of 64 KiB",
        unit="MiB",
        items=8,
        size=8 * MIB,
        prepare=_write(8 * MIB, 64 * KIB),
        # How many flushes there are depends on the threads, and each flush checks that the ingest is still its writer's.
        left_out=("calls", "writes"),
        chance={"hops": 2, "wakes": 2},
    ),
    Job(name="get of 8 MiB", unit="MiB", items=8, size=8 * MIB, prepare=_get(8 * MIB)),
    Job(
        name="8 MiB as a stream by 1 MiB",
        unit="MiB",
        items=8,
        size=8 * MIB,
        prepare=_stream(8 * MIB, MIB),
        chance={"hops": 2, "wakes": 2},
    ),
    Job(name="256 ranges of 64 KiB", unit="range", items=256, size=256 * 64 * KIB, prepare=_ranges(256, 64 * KIB)),
    _job(name="verify_all of 200 x 64 KiB", items=200, size=200 * 64 * KIB, prepare=_verify(200, 64 * KIB)),
    _job(name="walk of 1000", items=1000, size=0, prepare=_walk(1000)),
)


def slacks() -> dict[str, float]:
    """Return by how much each value may be above its record by chance, where it may."""
    return {f"{job.name}: {kind}": more for job in JOBS for kind, more in job.chance.items()}
