"""Writers and collectors of one bucket, each in a process of its own, on a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from steelyard.objects import ObjectStore

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROUNDS = int(os.environ.get("STEELYARD_OBJECT_ROUNDS", "4"))
"""Images that each writer imports."""

WRITERS, COLLECTORS = 8, 2
BACKENDS = ("asyncio", "trio")
PROGRAM = Path(__file__).parents[1] / "support" / "bucket_work.py"


def start(backend: str, address: str, spool: Path, *arguments: str, said: Path | None = None) -> subprocess.Popen[str]:
    """Start the program; what it says goes to a pipe, or to the end of a file."""
    with open(said or os.devnull, "ab") as file:  # noqa: PTH123  # a path or a device
        return subprocess.Popen(
            [sys.executable, "-W", "error", PROGRAM, backend, address, spool, *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE if said is None else file,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_writers_lose_nothing_beside_two_collectors(address: str, tmp_path: Path) -> None:
    """Half of them on asyncio, half on trio."""
    async with ObjectStore(address, spool=tmp_path / "spool") as store:
        stop = tmp_path / "stop"
        collectors = [
            start(BACKENDS[number % 2], address, tmp_path / f"collector {number}", "collect", str(stop), "0")
            for number in range(COLLECTORS)
        ]
        writers = [
            start(BACKENDS[number % 2], address, tmp_path / f"writer {number}", "write", str(ROUNDS), str(number))
            for number in range(WRITERS)
        ]
        try:
            said = [await anyio.to_thread.run_sync(writer.communicate) for writer in writers]
            stop.touch()
            collected = [await anyio.to_thread.run_sync(collector.communicate) for collector in collectors]
        finally:
            for process in (*writers, *collectors):
                process.kill()
        assert [0] * WRITERS == [writer.returncode for writer in writers], said
        assert [0] * COLLECTORS == [collector.returncode for collector in collectors], collected
        done = [list(map(int, output.split())) for output, _ in collected]
        assert sum(number for number, _ in done) > 0
        assert sum(removed for _, removed in done) > 0

        for image in await store.images.list():
            await store.images.delete(image.name)
        await store.collect(grace=timedelta(0))
        assert [] == [info async for info in store.walk()]
        assert [] == await store.leases.list()
