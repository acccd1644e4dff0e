"""How an event loop fares while work is under way, in figures that a slow or busy machine changes little.

A timer beats meanwhile. A task that only lets others run would be no timer: it makes trio's loop several times slower.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import NamedTuple

import anyio
from anyio.abc import TaskStatus

__all__ = ("Loop", "turns_of_another", "watched")

BEAT_SECONDS = 0.001


class Loop(NamedTuple):
    """What was seen of a loop.

    Attributes:
        late: by how many seconds a beat came later than asked, at worst. This is for people: it depends on the machine.
        longest: the most that the loop's thread computed between two beats, in seconds of the processor.
        thread: all that this thread computed.
        process: all that the process computed, on any thread.
        turns: how many beats there were.
    """

    late: float
    longest: float
    thread: float
    process: float
    turns: int


async def watched(work: Awaitable[object]) -> Loop:
    """Wait for the work, and return how the loop fared."""
    late: list[float] = []
    computed: list[float] = []

    async def beat(*, task_status: TaskStatus[None]) -> None:
        last, spent = time.perf_counter(), time.thread_time()
        task_status.started()
        while True:
            await anyio.sleep(BEAT_SECONDS)
            now, used = time.perf_counter(), time.thread_time()
            late.append(now - last - BEAT_SECONDS)
            computed.append(used - spent)
            last, spent = now, used

    async with anyio.create_task_group() as background:
        thread, process = time.thread_time(), time.process_time()
        await background.start(beat)
        await work
        turns = len(late)
        await anyio.sleep(BEAT_SECONDS)  # what held the loop up at the very end is seen, too
        background.cancel_scope.cancel()
    return Loop(max(late), max(computed), time.thread_time() - thread, time.process_time() - process, turns)


async def turns_of_another(work: Awaitable[object]) -> int:
    """Wait for the work, and return how often a task that only lets others run had its turn meanwhile."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await work
        tasks.cancel_scope.cancel()
    return turns
