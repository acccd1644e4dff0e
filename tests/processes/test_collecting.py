"""Collections beside writers in other processes, and kill -9 of the collector: nothing that was promised is lost, and all garbage goes.

`STEELYARD_COLLECTING_ROUNDS` makes it longer: each round of a writer is about ten operations.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support import collecting
from support.collecting import AT_ONCE

from steelyard import LocalStore
from steelyard.errors import NotFound

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROUNDS = int(os.environ.get("STEELYARD_COLLECTING_ROUNDS", "40"))
WRITERS = 3


def start(backend: str, root: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, collecting.__file__, backend, str(root), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def collect_and_kill(backend: str, root: Path, seconds: float) -> int:
    """Let a process collect, kill it, and return how often it had collected."""
    collector = start(backend, root, "collect")
    time.sleep(seconds)
    collector.kill()
    said, _ = collector.communicate()
    assert all(line.startswith("collected ") for line in said.splitlines()), said
    return said.count("collected ")


async def test_what_writers_were_told_stays_whatever_collectors_do(tmp_path: Path, anyio_backend: str) -> None:
    root, seed = tmp_path / "store", int(os.environ.get("STEELYARD_SEED", time.time_ns() % 1_000_000))
    print(f"STEELYARD_SEED={seed}")
    chance = random.Random(seed)
    async with LocalStore(root, durability="process-crash") as store:
        await store.collect()  # the first one needs the store to itself
    writers = [start(anyio_backend, root, "write", seed + number, ROUNDS) for number in range(WRITERS)]
    collections = kills = 0
    try:
        while any(writer.poll() is None for writer in writers):
            collections += collect_and_kill(anyio_backend, root, chance.uniform(0.5, 1.5))
            kills += 1
    finally:
        for writer in writers:
            writer.kill()
    said = [writer.communicate()[0] for writer in writers]

    assert [0] * WRITERS == [writer.returncode for writer in writers], "\n".join(said)
    assert all(each.startswith("done ") for each in said), said
    assert kills
    print(f"{collections} collections, {kills} kills, {sum(int(each.split()[1]) for each in said)} operations")
    async with LocalStore(root, durability="process-crash") as store:
        kept = {image.target.digest for image in await store.images.list()}
        await store.collect(grace=AT_ONCE, ingest_age=AT_ONCE)
        assert kept == (await store.infos(kept)).keys()
        for image in await store.images.list():
            with suppress(NotFound):
                await store.images.delete(image.name)
        await store.collect(grace=AT_ONCE, ingest_age=AT_ONCE)
        assert [] == [info.digest async for info in store.walk()]
        assert ([], []) == (await store.leases.list(), await store.list_statuses())
