"""A cache with a budget and no grace time, used by several processes, stays in its budget, and what is in use stays in the cache.

`STEELYARD_BUDGET_SECONDS` makes it longer: the time for which each writer stores blobs at least.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from support import caching, own_clock
from support.caching import BUDGET, HOT, WRITERS

from steelyard import LocalStore

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("STEELYARD_BUDGET_SECONDS", "0"))
BUSY = 6
"""The exit code of a collection beside another one."""


def start(backend: str, root: Path, action: str, seed: int, slot: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, caching.__file__, backend, str(root), action, str(seed), str(slot), str(SECONDS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, text=True, env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def test_a_counter_that_another_process_changes_is_read_whole(tmp_path: Path) -> None:
    path = caching.counters_of(tmp_path / "store")
    path.write_bytes(bytes(16 * WRITERS))
    counters = caching.Counters(path)
    with start("asyncio", tmp_path / "store", "count", 0) as counting:
        try:
            while not counters.total(is_end=False):
                assert counting.poll() is None
            seen = [counters.total(is_end=False) for _ in range(200_000)]
        finally:
            counting.kill()

    assert seen[0] < seen[-1]
    assert [] == [pair for pair in pairwise(seen) if pair[0] > pair[1]][:3]


async def prepare(root: Path) -> None:
    async with LocalStore(root, durability="process-crash") as store:
        await store.collect()  # the first one needs the store to itself
        await store.put(b"the directory of blobs")


async def stored(root: Path, digests: list[str]) -> int:
    async with LocalStore(root, read_only=True) as store:
        return len(await store.infos(digests))


@pytest.mark.timeout(300 + 2 * SECONDS)
def test_a_cache_with_a_budget_stays_in_it(tmp_path: Path, anyio_backend: str) -> None:
    root, seed = tmp_path / "store", int(os.environ.get("STEELYARD_SEED", time.time_ns() % 1_000_000))
    print(f"STEELYARD_SEED={seed}")
    anyio.run(prepare, root)
    caching.counters_of(root).write_bytes(bytes(16 * WRITERS))
    service = start(anyio_backend, root, "serve", seed)
    writers = [start(anyio_backend, root, "write", seed + slot, slot) for slot in range(WRITERS)]
    commands: list[tuple[int, str]] = []
    try:
        while service.poll() is None and any(writer.poll() is None for writer in writers):
            command = start(anyio_backend, root, "gc", seed)
            said = command.communicate()[0]
            commands.append((command.returncode, said))
        said_by_service = service.communicate()[0]
    finally:
        for process in (service, *writers):
            process.kill()
    said_by_writers = [writer.communicate()[0] for writer in writers]

    ended = [
        (each.returncode, said)
        for each, said in zip((service, *writers), (said_by_service, *said_by_writers), strict=True)
    ]
    for code, said in ended:
        if code:  # whole: an assertion's message is cut off
            print(f"ended with {code}:\n{said}")
    assert [0] * (1 + WRITERS) == [code for code, _ in ended]
    assert {code for code, _ in commands} <= {0, BUSY}, commands
    collections, removed, looks, largest = map(int, said_by_service.split()[1:])
    words = [said.split()[1:] for said in said_by_writers]
    puts, reads, misses, kept = map(sum, zip(*(map(int, each[:4]) for each in words), strict=True))
    # After the last collection: a writer may end before the next one.
    unused = anyio.run(stored, root, [digest for each in words for digest in each[4:]])
    by_command = sum(code == 0 for code, _ in commands)
    print(
        f"{puts} puts, {reads} reads, {misses} misses, {collections} collections, {by_command} by the command line, {removed} blobs removed, "
        f"{looks} looks, at most {largest} bytes, budget {BUDGET}, seed {seed}"
    )
    assert 0 not in (collections, looks, removed)
    if own_clock.CAN_MOVE:
        # What was stored first and never read is gone; what is in use is there, but for pauses of a whole process.
        assert 0 == unused
        assert 10 * misses < reads
        assert kept > WRITERS * HOT // 2
