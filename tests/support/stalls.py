"""Measures how an event loop is delayed by work, in figures that a slow or busy machine changes little.

A timer runs beside the work. A task that only yields to others would not do: it makes trio's loop several times slower.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import anyio
from anyio.abc import TaskStatus

__all__ = ("Loop", "runs_of_another_task", "watched")

BEAT_SECONDS = 0.001


class Loop(NamedTuple):
    """The measurement of a loop.

    Attributes:
        late: the longest delay of a beat of the timer, in seconds. This is for people: it depends on the machine.
        longest: the most that the loop's thread computed between two beats, in seconds of the processor.
        thread: all that this thread computed.
        process: all that the process computed, on any thread.
        beats: the number of beats.
    """

    late: float
    longest: float
    thread: float
    process: float
    beats: int


async def watched(work: Awaitable[object]) -> Loop:
    """Wait for the work, and return the measurement of the loop."""
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

    with _no_collection():
        async with anyio.create_task_group() as background:
            thread, process = time.thread_time(), time.process_time()
            await background.start(beat)
            await work
            beats = len(late)
            await anyio.sleep(BEAT_SECONDS)  # to see also a delay at the very end
            background.cancel_scope.cancel()
    return Loop(max(late), max(computed), time.thread_time() - thread, time.process_time() - process, beats)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's collector, which looks at all objects of all tests so far, out of the measurement."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def runs_of_another_task(work: Awaitable[object]) -> int:
    """Wait for the work, and return how often a task that only yields to others ran meanwhile."""
    runs = 0

    async def other() -> None:
        nonlocal runs
        while True:
            runs += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await work
        tasks.cancel_scope.cancel()
    return runs
