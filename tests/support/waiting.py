"""Whether threads of a process wait for another process: they sleep between two tries to get its lock."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import anyio

__all__ = ("pausing", "until_it_waits", "until_threads_wait")

_HANG_SECONDS = 30
_LOOK_SECONDS = 0.002


def pausing(process: int) -> set[str]:
    """Return the threads of a process that sleep for a time, in the kernel's words; no pool or event loop does."""
    found = set()
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(OSError):  # it has ended
            if (task / "wchan").read_text(encoding="ascii") == "hrtimer_nanosleep":
                found.add(task.name)
    return found


async def until_threads_wait(count: int = 1) -> None:
    """Wait until so many threads of this process wait for another one.

    A thread counts from its first pause seen on: it tries again between two pauses, so many threads never sleep all at once.
    """
    waiting: set[str] = set()
    with anyio.fail_after(_HANG_SECONDS):
        while len(waiting := waiting | pausing(os.getpid())) < count:  # noqa: ASYNC110  # the kernel has no notification
            await anyio.sleep(_LOOK_SECONDS)


def until_it_waits(process: int) -> None:
    """Wait until a thread of a process waits for another one."""
    end = time.monotonic() + _HANG_SECONDS
    while not pausing(process):
        assert time.monotonic() < end
        time.sleep(_LOOK_SECONDS)
