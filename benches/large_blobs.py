"""Large blobs through the public API, beside one thread of hashlib over as many bytes: the unit H of the goals.

```console
$ python benches/large_blobs.py DIRECTORY [--rounds 5] [--mib 1024] [--rows 1,2,3,8,10] [--backend asyncio]
```

All ways take their turns in every round, in another order each time; the first round does not count. Printed are the best
and the median time of each way, over the best and the median H, and its best processor time. Everything that is stored
is durable when its time ends, unless the name of the way says otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import anyio

from steelyard import Algorithm, Digest, LocalStore, _native

MIB = 1 << 20
MANY = 64

Work = Callable[[], Awaitable[object]]
Way = tuple[str, Work, Work]
"""A name, what is timed, and what is done before it."""


class Bench:
    """Source files, and a store that holds them for the reads."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self.large = self.fill("source", size)
        self.many = [self.fill(f"source {number}", size // MANY) for number in range(MANY)]
        self.memory = bytearray(os.urandom(64 * MIB))
        self.numbers = count()
        self.used: list[Path] = []

    def fill(self, name: str, size: int) -> Path:
        path = self.folder / name
        with path.open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
        return path

    def fresh(self) -> Path:
        """Return the path of a store that is not there yet; `clear` removes it."""
        self.used.append(self.folder / f"store {next(self.numbers)}")
        return self.used[-1]

    def clear(self) -> None:
        for path in self.used:
            shutil.rmtree(path)
        self.used.clear()

    def warm(self) -> None:
        """Have the machine hold free memory: a hypervisor may have taken it back, and gives it again at a high price."""
        path = self.folder / "warm"
        piece = bytes(MIB)
        with path.open("wb") as file:
            for _ in range(self.size // MIB):
                file.write(piece)
        path.unlink()
        os.sync()

    def unit(self) -> float:
        """Return H: the time in which one thread hashes as many bytes."""
        begin = time.perf_counter()
        hasher = hashlib.sha256()
        with memoryview(self.memory) as view:
            for number in range(self.size // MIB):
                start = number * MIB % len(self.memory)
                hasher.update(view[start : start + MIB])
        hasher.digest()
        return time.perf_counter() - begin


async def nothing() -> None:
    """What is done before most ways."""


async def put(bench: Bench, algorithm: Algorithm, ref: str | None) -> None:
    async with LocalStore(bench.fresh()) as store:
        await store.put(bench.large, algorithm=algorithm, ref=ref)


async def put_memory(bench: Bench, data: bytes) -> None:
    async with LocalStore(bench.fresh()) as store:
        await store.put(data)


async def write(bench: Bench, ref: str, piece: int) -> None:
    async with LocalStore(bench.fresh()) as store, await store.writer(ref) as writer:
        with bench.large.open("rb", buffering=0) as file:  # from the page cache
            while data := file.read(piece):
                await writer.write(data)
        await writer.commit()


async def put_many(bench: Bench) -> None:
    async with LocalStore(bench.fresh()) as store, anyio.create_task_group() as tasks:
        for path in bench.many:
            tasks.start_soon(store.put, path)


async def plain_copy(bench: Bench) -> None:
    """What a careful person writes: not durable until it is synced, which is not part of the time."""
    target = bench.fresh()
    target.mkdir()
    hasher = hashlib.sha256()
    with bench.large.open("rb") as source, (target / "blob").open("xb") as file:
        while data := source.read(MIB):
            hasher.update(data)
            file.write(data)


def ingests(bench: Bench) -> dict[str, list[Way]]:
    """The rows that store."""
    data = bench.large.read_bytes()
    return {
        "1: one file, SHA-256": [
            ("hashlib and a plain file, not durable", partial(plain_copy, bench), nothing),
            ("put of a path", partial(put, bench, Algorithm.SHA256, None), nothing),
            ("put of a path with a ref, hence checkpoints", partial(put, bench, Algorithm.SHA256, "ref"), nothing),
            ("put of bytes in memory", partial(put_memory, bench, data), nothing),
            ("writes of 1 MiB", partial(write, bench, "ref", MIB), nothing),
            ("writes of 64 KiB", partial(write, bench, "ref", MIB // 16), nothing),
        ],
        "2: one file, BLAKE3": [("put of a path", partial(put, bench, Algorithm.BLAKE3, None), nothing)],
        f"3: {MANY} files at once, SHA-256": [("put of each path", partial(put_many, bench), nothing)],
    }


async def preads(path: Path, memory: bytearray) -> None:
    with path.open("rb", buffering=0) as file, memoryview(memory) as view:
        for start in range(0, len(memory), MIB):
            os.preadv(file.fileno(), [view[start : start + MIB]], start)


async def readinto(store: LocalStore, digest: Digest, memory: bytearray) -> None:
    async with await store.reader_at(digest) as reader:
        assert len(memory) == await reader.readinto_at(0, memory)


async def stream(store: LocalStore, digest: Digest, most: int) -> None:
    done = 0
    async with await store.reader_at(digest) as reader, reader.stream() as pieces:
        try:
            while True:
                done += len(await pieces.receive(most))
        except anyio.EndOfStream:
            assert reader.size == done


async def verify_all(store: LocalStore) -> None:
    async for checked in store.verify_all():
        assert checked.error is None


async def reads(bench: Bench, large: LocalStore, many: LocalStore) -> dict[str, list[Way]]:
    """The rows that read; `large` and `many` are empty stores."""
    digest = (await large.put(bench.large)).digest
    async with anyio.create_task_group() as tasks:
        for path in bench.many:
            tasks.start_soon(many.put, path)
    memory = bytearray(bench.size)
    blobs = [path for path in (many.path / "blobs").rglob("*") if path.is_file()]
    blob = large.path / "blobs" / digest.algorithm / digest.encoded

    async def warm(paths: list[Path]) -> None:
        # The machine drops from the page cache what has idled, and a verification brings nothing back into it.
        for path in paths:
            path.read_bytes()

    one, all_of_many = partial(warm, [blob]), partial(warm, blobs)
    return {
        "8: reads of one blob": [
            ("os.preadv of 1 MiB into memory, one thread", partial(preads, blob, memory), one),
            ("readinto_at of all of it", partial(readinto, large, digest, memory), one),
            ("stream by 1 MiB, verified", partial(stream, large, digest, MIB), one),
            ("stream by 64 KiB, verified", partial(stream, large, digest, MIB // 16), one),
            ("get, verified", partial(large.get, digest), one),
            ("verify", partial(large.verify, digest), one),
        ],
        f"10: {MANY} blobs": [("verify_all", partial(verify_all, many), all_of_many)],
    }


async def run(bench: Bench, row: str, ways: list[Way], rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name, _, _ in ways}
    used: dict[str, list[float]] = {name: [] for name, _, _ in ways}
    units: list[float] = []
    for number in range(rounds + 1):
        units.append(bench.unit())
        for name, work, before in ways[number % len(ways) :] + ways[: number % len(ways)]:
            bench.warm()
            await before()
            begin, used_before = time.perf_counter(), time.process_time()
            await work()
            took, took_of_processors = time.perf_counter() - begin, time.process_time() - used_before
            bench.clear()
            if number:
                times[name].append(took)
                used[name].append(took_of_processors)
    best, median = min(units), statistics.median(units)
    print(f"\n{row}: H = {best * 1e3:.0f} ms, median {median * 1e3:.0f} ms")
    for name, took in times.items():
        ratios = f"{min(took) / best:5.2f} H  median {statistics.median(took) / median:5.2f}"
        print(f"  {name:<48} {ratios}  cpu {min(used[name]) / best:5.2f}", flush=True)


def wanted(rows: dict[str, list[Way]], numbers: list[str]) -> Iterator[tuple[str, list[Way]]]:
    return ((row, ways) for row, ways in rows.items() if row.split(":")[0] in numbers)


async def main(options: argparse.Namespace) -> None:
    folder = options.directory / f"large-blobs-{os.getpid()}"
    folder.mkdir()
    numbers = options.rows.split(",")
    try:
        bench = Bench(folder, options.mib * MIB)
        print(f"{options.mib} MiB in {folder}, {options.backend}")
        if not {"1", "2", "3"}.isdisjoint(numbers):
            for row, ways in wanted(ingests(bench), numbers):
                await run(bench, row, ways, options.rounds)
        if not {"8", "10"}.isdisjoint(numbers):
            async with LocalStore(folder / "large") as large, LocalStore(folder / "many") as many:
                for row, ways in wanted(await reads(bench, large, many), numbers):
                    await run(bench, row, ways, options.rounds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    if _native.debug_build:
        sys.exit("benches need an optimised extension: pip install .")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rows", default="1,2,3,8,10")
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    chosen = parser.parse_args()
    anyio.run(main, chosen, backend=chosen.backend)
