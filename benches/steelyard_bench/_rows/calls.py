"""Row 7: what a call costs that does nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import anyio.to_thread

from steelyard_bench._bare import bare_thread
from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Goal, Material, Metrics, Row, Scale, Start, Work

__all__ = ("BARE", "bare", "call", "nothing")

TASKS = 256
BARE = "bare thread, alone"
ALONE = "one at a time"
TOGETHER = f"{TASKS} at once"

Call = Callable[[], Coroutine[Any, Any, object]]


def call(scale: Scale) -> Row[None]:
    """Row 7: alone at most 1.1 times a bare thread's answer; among 256, at most 3 µs each."""
    count, turns = scale(2000), scale(64)
    return Row(
        number=7,
        title="a call that does nothing, on a worker thread",
        payload=None,
        material=nothing(),
        contestants=(
            Contestant(
                name="steelyard, alone",
                kind="steelyard",
                start=_alone(_run, count),
                durable=None,
                section=ALONE,
                algorithm="",
                items=count,
            ),
            bare(count, section=ALONE),
            Contestant(
                name="anyio.to_thread, alone",
                kind="peer",
                start=_alone(_to_thread, count),
                durable=None,
                note="the usual way",
                section=ALONE,
                algorithm="",
                items=count,
            ),
            Contestant(
                name="steelyard, at once",
                kind="steelyard",
                start=_together(_run, turns),
                durable=None,
                section=TOGETHER,
                algorithm="",
                items=turns * TASKS,
            ),
            Contestant(
                name="anyio.to_thread, at once",
                kind="peer",
                start=_together(_to_thread, turns),
                durable=None,
                note="40 threads",
                section=TOGETHER,
                algorithm="",
                items=turns * TASKS,
            ),
        ),
        goals=(
            Goal(
                contestant="steelyard, alone",
                at_most=1.1,
                to=BARE,
                reason="a call takes 15 µs where the bare thread takes 13: a look for a cancelled scope before, and a queue "
                "that tells many results at once. On a machine whose processors sleep between calls it is the faster one",
            ),
            Goal(
                contestant="steelyard, at once",
                at_most=3e-6,
                to=None,
                metric="net_each_seconds",
                reason="about 4 µs on CPython 3.11, of which 1.1 are the least that a task takes to wait for a future, 0.8 "
                "anyio's look for a cancelled scope and 0.3 the way to the pool; there is one wake for all. "
                "CPython 3.12 and 3.13 take 0 to 2 µs less: benches/README.md, Row 7",
            ),
        ),
        note=f"net: less what {TASKS} tasks take that call nothing",
    )


def nothing() -> Material[None]:
    """Return a material for rows that need none."""

    @asynccontextmanager
    async def material(_: Path) -> AsyncIterator[None]:
        yield None

    return material


def _alone(function: Call, count: int) -> Start[None]:
    """Return what calls so many times, one after the other."""

    async def work() -> None:
        for _ in range(count):
            await function()

    @asynccontextmanager
    async def start(material: None, place: Path) -> AsyncIterator[Work]:
        del material, place
        yield work

    return start


def bare(count: int, *, section: str) -> Contestant[Any]:
    """Return the yardstick of a call to another thread."""
    return Contestant(
        name=BARE,
        kind="yardstick",
        start=_asking(count),
        durable=None,
        note="a queue, a thread, and a wake of the loop for each answer; in Python",
        section=section,
        algorithm="",
        items=count,
    )


def _asking(count: int) -> Start[Any]:
    """Return what asks a bare thread so many times, one after the other."""

    @asynccontextmanager
    async def start(material: Any, place: Path) -> AsyncIterator[Work]:
        del material, place
        async with bare_thread() as ask:

            async def work() -> None:
                for _ in range(count):
                    await ask()

            yield work

    return start


def _together(function: Call, turns: int) -> Start[None]:
    """Return what starts 256 tasks that call once each, so many times; and as often tasks that call nothing."""

    async def idle() -> None:
        pass

    async def tasks_of(function: Call) -> float:
        begun = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(TASKS):
                tasks.start_soon(function)
        return time.perf_counter() - begun

    async def work() -> Metrics:
        # In pairs, so that both meet the same machine: it has other work at one moment and none at the next.
        pairs = [(await tasks_of(idle), await tasks_of(function)) for _ in range(turns)]
        net = median(calling - empty for empty, calling in pairs) / TASKS
        return {"seconds": sum(calling for _, calling in pairs), "net_each_seconds": net}

    @asynccontextmanager
    async def start(material: None, place: Path) -> AsyncIterator[Work]:
        del material, place
        yield work

    return start


async def _run() -> None:
    await run(bool)


async def _to_thread() -> None:
    await anyio.to_thread.run_sync(bool)
