"""Processes that are suspended while they hold a lock, and calls that wait for them."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from support.waiting import until_threads_wait

__all__ = ("HANG_SECONDS", "HOLDS_LABELS", "HOLDS_NAMES", "Waits", "held")

HANG_SECONDS = 30

# As a process that was suspended in the middle of a publication, or of a change of labels.
HOLDS_NAMES = """
import fcntl, struct, sys, time
file = open(sys.argv[1] + "/lock", "r+b")
fcntl.fcntl(file, 38, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 1 << 61, 1 << 61, 0))  # F_OFD_SETLKW
print("held", flush=True)
time.sleep(600)
"""
HOLDS_LABELS = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1] + "/meta.db", isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def held(program: str, root: Path, *, suspended: bool = False) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            if suspended:
                process.send_signal(signal.SIGSTOP)
            yield
        finally:
            process.kill()


class Waits:
    """Calls that are cancelled while they wait, and how long they then took to end."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def cancelled(
        self,
        *calls: Callable[[], Awaitable[object]],
        waiting: int = 1,
        meanwhile: Callable[[], Awaitable[object]] = checkpoint,
    ) -> None:
        """Make the calls, do something when so many threads wait for the other process, and cancel the calls."""

        async def call(one: Callable[[], Awaitable[object]]) -> None:
            pytest.fail(f"it did not wait: {await one()}")

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                for one in calls:
                    tasks.start_soon(call, one)
                await until_threads_wait(waiting)
                await meanwhile()
                begun = anyio.current_time()
                scope.cancel()
        assert scope.cancelled_caught
        self.late.append(anyio.current_time() - begun)

    def report(self) -> None:
        late = [seconds * 1000 for seconds in self.late]
        print(f"{len(late)} times cancelled: median {statistics.median(late):.1f} ms, most {max(late):.1f} ms")
