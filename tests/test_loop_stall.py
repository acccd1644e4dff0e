"""The event loop is never held longer than 20 ms while four large ingests run."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from steelyard import LocalStore, Store, _native

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LIMIT_SECONDS = 0.020
BEAT_SECONDS = 0.001
ATTEMPTS = 4
"""A stall of ours comes back every time; one of a busy machine does not."""
SIZE = (4 if _native.debug_build else 48) << 20
CHUNK = 1 << 20


async def _longest_stall(work: Callable[[anyio.abc.TaskGroup], Awaitable[None]]) -> float:
    """Run the tasks that `work` starts; return by how much the loop came back later than asked, at worst."""
    late: list[float] = []

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await anyio.sleep(BEAT_SECONDS)
            now = time.perf_counter()
            late.append(now - last - BEAT_SECONDS)
            last = now

    async with anyio.create_task_group() as background:
        background.start_soon(beat)
        async with anyio.create_task_group() as tasks:
            await work(tasks)
        background.cancel_scope.cancel()
    return max(late)


async def _stream(seed: int) -> AsyncIterator[bytes]:
    block = seed.to_bytes(4, "big") * (CHUNK // 4)
    for _ in range(SIZE // CHUNK):
        yield block


async def _write(store: Store, seed: int) -> None:
    async with await store.writer(f"ingest {seed}") as writer:
        async for block in _stream(seed):
            await writer.write(block)
        await writer.commit(SIZE)


async def _four_ingests(store: Store, folder: Path) -> float:
    """One ingest of each way in: a writer, a file, a stream, bytes in memory."""
    path = folder / "source"
    path.write_bytes(b"from a file " * (SIZE // 12))
    memory = b"in memory " * (SIZE // 10)

    async def work(tasks: anyio.abc.TaskGroup) -> None:
        tasks.start_soon(_write, store, 1)
        tasks.start_soon(store.put, path)
        tasks.start_soon(store.put, _stream(2))
        tasks.start_soon(store.put, memory)

    return await _longest_stall(work)


async def _four_plain_threads(folder: Path) -> float:
    """The same amount of hashing and writing by hashlib and plain files, in threads: what this machine does to any loop."""

    def hash_and_write(number: int) -> None:
        hasher = hashlib.sha256()
        with (folder / f"plain {number}").open("wb") as file:
            for _ in range(SIZE // CHUNK):
                block = number.to_bytes(4, "big") * (CHUNK // 4)
                hasher.update(block)
                file.write(block)
            os.fdatasync(file.fileno())

    async def work(tasks: anyio.abc.TaskGroup) -> None:
        for number in range(4):
            tasks.start_soon(to_thread.run_sync, hash_and_write, number)

    return await _longest_stall(work)


async def test_the_event_loop_is_never_held_longer_than_20_ms_by_four_large_ingests(tmp_path: Path) -> None:
    """On a machine so busy that plain threads hold up the loop as long, it has to be no worse than those."""
    ours: list[float] = []
    plain: list[float] = []
    while len(ours) < ATTEMPTS and (not ours or min(ours) > LIMIT_SECONDS):
        if ours:
            plain.append(await _four_plain_threads(tmp_path))
        async with LocalStore(tmp_path / f"store {len(ours)}") as store:
            ours.append(await _four_ingests(store, tmp_path))
    print("longest stalls:", *(f"{stall * 1e3:.1f} ms" for stall in ours))
    print("of plain threads:", *(f"{stall * 1e3:.1f} ms" for stall in plain))

    assert min(ours) <= max([LIMIT_SECONDS, *plain])
