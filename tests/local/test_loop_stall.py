"""The event loop runs while four large ingests run: none of their work is done on its thread, or with the GIL held.

The longest delay is printed. The assertions do not depend on the machine: the longest time that the loop's thread computed
in one go, as a share of the processor time of the process, and the number of beats of the timer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from support.stalls import Loop, watched

from steelyard import LocalStore, Store

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SHARE = 0.04
"""Under 0.01 was seen on a busy machine, and over 0.1 where one of the four is hashed on the loop's thread."""
BEATS = 20
"""With four ingests that hold the GIL, there are fewer."""
ATTEMPTS = 10
"""A stall of ours comes back every time; one of a busy machine does not."""
SIZE = 48 << 20
CHUNK = 1 << 20


async def _stream(seed: int) -> AsyncIterator[bytes]:
    block = seed.to_bytes(4, "big") * (CHUNK // 4)
    for _ in range(SIZE // CHUNK):
        yield block


async def _write(store: Store, seed: int) -> None:
    async with store.writer(f"ingest {seed}") as writer:
        async for block in _stream(seed):
            await writer.write(block)
        await writer.commit(size=SIZE)


async def _four_ingests(store: Store, folder: Path) -> Loop:
    """One ingest of each way in: a writer, a file, a stream, bytes in memory."""
    path = folder / "source"
    path.write_bytes(b"from a file " * (SIZE // 12))
    memory = b"in memory " * (SIZE // 10)

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_write, store, 1)
            tasks.start_soon(store.put, path)
            tasks.start_soon(store.put, _stream(2))
            tasks.start_soon(store.put, memory)

    return await watched(work())


async def test_the_event_loop_goes_on_while_four_large_ingests_run(tmp_path: Path) -> None:
    shares, beats = [1.0], [0]
    while len(shares) <= ATTEMPTS and (min(shares) > SHARE or max(beats) < BEATS):
        async with LocalStore(tmp_path / f"store {len(shares)}") as store:
            seen = await _four_ingests(store, tmp_path)
        shares.append(seen.longest / seen.process)
        beats.append(seen.beats)
        print(f"late by {seen.late * 1e3:.1f} ms, {shares[-1]:.2%} in one go, {seen.beats} beats")

    assert min(shares) <= SHARE
    assert max(beats) >= BEATS
