"""Long native calls: one hop for a whole blob. The event loop observes the progress of a call and can cancel it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
from anyio.lowlevel import checkpoint

from steelyard._native import Job
from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.background import Background
from steelyard._runtime.calls import run_job

__all__ = ("watched", "whole")

_BEAT_SECONDS = 0.05
"""How often `report` is called."""

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


@uninterrupted  # a call with `*args` would leave its coroutine unawaited
async def watched(
    job: Job, report: Callable[[], object] | None, function: Callable[[*ArgsT], ResultT], *args: *ArgsT
) -> ResultT:
    """Run `function` off the event loop and return its result. If the job was cancelled, the result covers only a part of the work.

    Args:
        job: ends the call early when it is cancelled.
        report: called regularly meanwhile. If it fails, the call ends early and the failure is raised.
        function: the long call.
        args: its arguments.

    Cancellation:
        Cancels the job, waits for the call to end, and returns its result.
    """
    if report is None:
        return await run_job(job, function, *args)
    failures: list[Exception] = []

    async def beat() -> None:
        try:
            while True:
                await anyio.sleep(_BEAT_SECONDS)
                report()
        except Exception as failure:  # noqa: BLE001  # raised below, where the caller can see it
            failures.append(failure)
            job.cancel()

    background = Background(beat)
    try:
        result = await run_job(job, function, *args)
    finally:
        await background.aclose()
    if failures:
        raise failures[0]
    return result


@uninterrupted  # a call with `*args` would leave its coroutine unawaited
async def whole(function: Callable[[Job], ResultT]) -> ResultT:
    """Run a call whose only effect is its result, and wait for its end.

    Cancellation:
        Ends the call early; its result is dropped.
    """
    while True:
        job = Job()
        result = await run_job(job, function, job)
        if not job.cancelled:
            return result
        await checkpoint()
