"""Row 6: many ingests at once, each in small pieces."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import anyio
import anyio.to_thread

from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._model import QUICK, Contestant, Goal, Material, Metrics, Payload, Row, Scale, Start, Work
from steelyard_bench._sources import blocking, in_store
from steelyard_bench._text import size

__all__ = ("Streams", "at_once", "ingest_all", "ingests", "streams")

KIB = 1 << 10
MIB = 1 << 20
INGESTS = 256
WRITE = 64 * KIB
HASHING = "hash on all cores"


@dataclass(frozen=True)
class Streams:
    """Streams that overlap in one pool of bytes, so that they take a sixteenth of the memory, and no two are alike."""

    pool: bytes
    count: int
    size: int

    @property
    def step(self) -> int:
        """Bytes from the beginning of one to that of the next."""
        return self.size // 16

    def pieces(self, number: int, most: int = WRITE) -> list[memoryview]:
        """Return a stream in pieces."""
        stream = memoryview(self.pool)[number * self.step : number * self.step + self.size]
        return [stream[at : at + most] for at in range(0, self.size, most)]


def streams(count: int, size: int) -> Streams:
    """Return streams of random bytes."""
    return Streams(os.urandom((count - 1) * (size // 16) + size), count, size)


def at_once(scale: Scale) -> Row[Streams]:
    """Row 6: 256 ingests of 4 MiB, each in writes of 64 KiB: at most 1.25 times hashing them on all cores."""
    payload = Payload(count=ingests(scale), size=max(WRITE, scale(4 * MIB)))
    fair = "slowest_to_fastest_ratio"
    return Row(
        number=6,
        title=f"{payload.count} ingests of {size(payload.size)} at once, in writes of {size(WRITE)}, sha256",
        payload=payload,
        material=_material(payload),
        contestants=(
            Contestant(name="steelyard", kind="steelyard", start=in_store(ingest_all), durable=True),
            Contestant(
                name="steelyard, unsynced",
                kind="steelyard",
                start=in_store(ingest_all, durable=False),
                durable=False,
            ),
            Contestant(
                name=HASHING,
                kind="yardstick",
                start=blocking(_hash_all),
                durable=None,
                note="a stream per core, nothing written; no lanes",
            ),
            Contestant(
                name="hashlib and files by anyio.to_thread",
                kind="peer",
                start=_on_threads(payload),
                durable=False,
                note="a trip to a thread for each write; no sync, no resume",
            ),
        ),
        goals=(
            Goal(
                contestant="steelyard",
                at_most=1.25,
                to=HASHING,
                reason="256 syncs of 4 MiB, against hashing that writes nothing; `cp` and `sync` of as many bytes take 0.85 H. "
                "Next: one sync of the directory for ingests that are committed together",
            ),
            Goal(
                contestant="steelyard, unsynced",
                at_most=1.25,
                to=HASHING,
                reason="the copies into the page cache share the processors with the hashing",
            ),
            Goal(contestant="steelyard", at_most=1.0, to="hashlib and files by anyio.to_thread"),
            Goal(
                contestant="steelyard",
                at_most=2.0,
                to=None,
                metric=fair,
                reason="256 syncs, one after the other at the disk. "
                "Next: one sync of the directory for ingests that are committed together",
            ),
        ),
        note="fair is who ends last by at most twice the time of who ends first; all begin together",
    )


def ingests(scale: Scale) -> int:
    """Return how many there are at once: so many are the point, except in a test."""
    return min(INGESTS, max(16, scale(INGESTS * QUICK.divisor)))


async def ingest_all(store: LocalStore, material: Streams) -> Metrics:
    """Write and commit all streams at once."""

    async def ingest(number: int) -> None:
        async with store.writer(f"stream {number}") as writer:
            for piece in material.pieces(number):
                await writer.write(piece)
            await writer.commit(size=material.size)

    return await _race(material.count, ingest)


async def _race(count: int, run_one: Callable[[int], Awaitable[None]]) -> Metrics:
    """Run so many at once, and tell how much later the last was done than the first."""
    took: list[float] = []
    begun = time.perf_counter()

    async def one(number: int) -> None:
        await run_one(number)
        took.append(time.perf_counter() - begun)

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(one, number)
    return {"slowest_to_fastest_ratio": max(took) / min(took)}


def _material(payload: Payload) -> Material[Streams]:
    @asynccontextmanager
    async def material(_: Path) -> AsyncIterator[Streams]:
        yield streams(payload.count, payload.size)

    return material


def _hash_all(material: Streams, _: Path) -> None:
    _yardsticks.hash_streams(
        material.pool, algorithm="sha256", size=material.size, step=material.step, threads=os.cpu_count() or 1
    )


def _on_threads(payload: Payload) -> Start[Streams]:
    """Do it as programs do that have no store: hash and write each piece on a worker thread."""

    @asynccontextmanager
    async def start(material: Streams, place: Path) -> AsyncIterator[Work]:
        async def ingest(number: int) -> None:
            hasher = hashlib.sha256()
            path = place / f"{number}"
            with FileIO(path, "xb") as file:
                for piece in material.pieces(number):
                    await anyio.to_thread.run_sync(_hash_and_write, hasher, file, piece)
            await anyio.to_thread.run_sync(path.rename, place / hasher.hexdigest())

        async def work() -> Metrics:
            return await _race(payload.count, ingest)

        yield work

    return start


def _hash_and_write(hasher: hashlib._Hash, file: FileIO, piece: memoryview) -> None:
    hasher.update(piece)
    file.write(piece)
