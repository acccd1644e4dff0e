"""Run ingests in this process and tell the most memory it took: ``python -m steelyard_bench._memory JOB``."""

from __future__ import annotations

import os
import re
import sys
import time
from functools import partial
from pathlib import Path

import anyio
import msgspec

from steelyard.local import LocalStore

__all__ = ("Job", "Used", "reset_peak", "resident")

_POOL = 16 << 20
_RESET_PEAK = "5"
"""Written to `/proc/self/clear_refs`, it resets the peak; see proc(5)."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Ingests, all at once.

    Attributes:
        count: how many.
        size: bytes of each.
        write: bytes of each write.
        backend: the async library.
        root: of the store.
    """

    count: int
    size: int
    write: int
    backend: str = "asyncio"
    root: str = ""


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """The memory and time of a job.

    Attributes:
        idle_bytes: resident before it.
        peak_bytes: the most that was resident meanwhile, less that.
        seconds: how long it took.
    """

    idle_bytes: int
    peak_bytes: int
    seconds: float


async def _run(job: Job) -> Used:
    pool = os.urandom(_POOL)
    async with LocalStore(job.root) as store:
        # Threads, modules, the database: what a program that has stored anything already has.
        await _ingest(store, pool, -1, job.write, job.write)
        idle = resident("VmRSS")
        reset_peak()
        begun = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for number in range(job.count):
                tasks.start_soon(_ingest, store, pool, number, job.size, job.write)
        seconds = time.perf_counter() - begun
        return Used(idle_bytes=idle, peak_bytes=max(0, resident("VmHWM") - idle), seconds=seconds)


async def _ingest(store: LocalStore, pool: bytes, number: int, size: int, write: int) -> None:
    with memoryview(pool) as view:
        async with store.writer(f"stream {number}") as writer:
            # No two begin with the same bytes: the second of them would only be told that it is stored.
            await writer.write(number.to_bytes(8, "big", signed=True))
            for at in range(8, size, write):
                start = (at + number * 4096) % (len(view) - write)
                await writer.write(view[start : start + min(write, size - at)])
            await writer.commit(size=max(8, size))


def resident(name: str) -> int:
    """Return the bytes of a line of `/proc/self/status`: ``VmRSS``, or the peak ``VmHWM``."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"no {name} in /proc/self/status")
    return int(found.group(1)) << 10


def reset_peak() -> None:
    """Reset the peak; where the kernel cannot, it is that of the whole process, which is no less."""
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return


def _main() -> None:
    job = msgspec.json.decode(sys.argv[1], type=Job)
    used = anyio.run(partial(_run, job), backend=job.backend)
    sys.stdout.write(msgspec.json.encode(used).decode())


if __name__ == "__main__":
    _main()
