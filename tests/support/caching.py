"""Processes that use a store as a cache with a budget: `python caching.py BACKEND ROOT ACTION SEED SLOT SECONDS`.

`write` stores blobs that are not read again, reads a few blobs often, and holds a lease. `serve` collects with `collect_every`, and looks
whether the store is ever larger than its budget and what was stored since the last finished collection began. `gc` is the command line,
and `count` changes a counter until it is killed. An error ends a process.

The processes share counters of bytes in a file, and their wall clocks move with these: by `HOURS` while as many bytes are stored as the budget
has. So the order of uses, which is known to about an hour, does not depend on the speed of the machine.
"""

from __future__ import annotations

import mmap
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from steelyard import Digest, LocalStore
from steelyard.cli import main as command_line
from steelyard.collection import Collected, collect_every
from steelyard.errors import CollectionBusy, NotFound
from steelyard.testing._values import digest_of
from support import own_clock

AT_ONCE = timedelta(0)
BUDGET = 3_000_000
HOURS = 8
WRITERS = 3
HOT = 4
LEASED = 5
LOOK_SECONDS = 0.02
PUTS = 500
"""The puts of a writer at least; three times the budget is stored by all."""


class Broken(Exception):
    """A promise was broken."""


class Counters:
    """How many bytes each writer has begun to store, and has stored.

    Each counter is read and written by one instruction. `struct` clears the bytes first and then writes them one by one, and other processes
    would find a counter of nothing now and then.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._numbers = memoryview(mmap.mmap(file.fileno(), 16 * WRITERS)).cast("q")

    def add(self, slot: int, size: int, *, is_end: bool) -> None:
        self._numbers[2 * slot + is_end] += size

    def total(self, *, is_end: bool) -> int:
        return sum(self._numbers[2 * slot + is_end] for slot in range(WRITERS))

    def move_clock(self) -> None:
        """Move the wall clock of this process to the time of the cache."""
        if own_clock.CAN_MOVE:
            own_clock.move(self.total(is_end=True) * HOURS * 3600 // BUDGET)


def counters_of(root: Path) -> Path:
    return root.with_name("counters")


def blobs_of(root: Path) -> int:
    """Return the bytes of all blobs."""
    size = 0
    for entry in os.scandir(root / "blobs" / "sha256"):
        with suppress(FileNotFoundError):
            size += entry.stat().st_size
    return size


class Writer:
    """A client of the cache."""

    def __init__(self, store: LocalStore, counters: Counters, slot: int, chance: random.Random) -> None:
        self.store = store
        self.counters = counters
        self.slot = slot
        self.chance = chance
        self.hot = [chance.randbytes(8_000) for _ in range(HOT)]
        self.reads = self.misses = 0

    async def put(self, data: bytes, store: LocalStore | None = None) -> Digest:
        self.counters.add(self.slot, len(data), is_end=False)
        digest = (await (store or self.store).put(data)).digest
        self.counters.add(self.slot, len(data), is_end=True)
        self.counters.move_clock()
        return digest

    async def read(self, number: int) -> None:
        """Read a blob that is in use; store it again if it went."""
        self.reads += 1
        data = self.hot[number]
        try:
            assert data == await self.store.get(digest_of(data))
        except NotFound:
            self.misses += 1
            await self.put(data)

    async def run(self, seconds: float) -> None:
        hot = [await self.put(data) for data in self.hot]
        first = [await self.put(self.chance.randbytes(4_000)) for _ in range(10)]
        end, puts = time.monotonic() + seconds, 0
        async with self.store.lease() as leased:
            held = [await self.put(self.chance.randbytes(3_000), leased) for _ in range(LEASED)]
            while puts < PUTS or time.monotonic() < end:
                await self.put(self.chance.randbytes(self.chance.randrange(2_000, 16_000)))
                await self.read(puts % HOT)
                puts += 1
                if puts % 20 == 0 and len(await self.store.infos(held)) < LEASED:
                    raise Broken("a leased blob went")
            kept = len(await self.store.infos(hot))
        print("done", puts, self.reads, self.misses, kept, *first, flush=True)


class Service:
    """A store that is collected again and again."""

    def __init__(self, store: LocalStore, counters: Counters, root: Path) -> None:
        self.store = store
        self.counters = counters
        self.root = root
        self.begun: int | None = None
        """The bytes that were stored when the last finished collection began; None before the first one."""
        self.collections = self.removed = self.looks = self.largest = 0

    async def collect(self, **options: Any) -> Collected:
        self.counters.move_clock()
        begun = self.counters.total(is_end=True)
        result = await self.store.collect(**options)
        self.begun = begun
        self.collections += 1
        self.removed += result.blobs
        return result

    async def watch(self) -> None:
        pause = LOOK_SECONDS
        while True:
            await anyio.sleep(pause)
            begun = self.begun
            if begun is None:
                continue
            started = time.perf_counter()
            size = blobs_of(self.root)
            # A look takes longer the more blobs there are. If it left no time for collections in this event loop, there would be ever more.
            pause = max(LOOK_SECONDS, 20 * (time.perf_counter() - started))
            most = BUDGET + self.counters.total(is_end=False) - begun
            self.looks += 1
            self.largest = max(self.largest, size)
            if size > most:
                raise Broken(f"{size} bytes, expected at most {most}")

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.watch)
            every = partial(collect_every, max_bytes=BUDGET, grace=AT_ONCE)
            tasks.start_soon(every, self, timedelta(milliseconds=50))
            await anyio.to_thread.run_sync(sys.stdin.read)
            tasks.cancel_scope.cancel()
        with suppress(CollectionBusy):
            await self.collect(max_bytes=BUDGET, grace=AT_ONCE)
        print("done", self.collections, self.removed, self.looks, self.largest, flush=True)


async def with_store(root: Path, work: Callable[[LocalStore], Awaitable[None]]) -> None:
    async with LocalStore(root, durability="process-crash") as store:
        await work(store)


def start(backend: str, root: Path, action: str, *numbers: str) -> None:
    """Do what the command line says."""
    seed, slot, seconds = numbers
    counters = Counters(counters_of(root))
    while action == "count":
        counters.add(0, 9_000, is_end=False)
    counters.move_clock()

    async def work(store: LocalStore) -> None:
        if action == "write":
            await Writer(store, counters, int(slot), random.Random(int(seed))).run(float(seconds))
        else:
            await Service(store, counters, root).run()

    if action == "gc":
        sys.exit(command_line(["--store", str(root), "gc", "--max-bytes", str(BUDGET), "--grace", "0s"]))
    else:
        anyio.run(with_store, root, work, backend=backend)


if __name__ == "__main__":
    start(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
