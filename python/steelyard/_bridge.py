"""The one module that knows of threads: everything that waits for native work or a blocking call goes through here.

The unit of work is a **piece**: a call that ends by itself within milliseconds to a few seconds, at most `PIECE` bytes of
input or output. A piece is never abandoned. A caller that is cancelled before its piece starts had no effect; one that
is cancelled while it runs gets its result, and the cancellation at its next checkpoint. So no thread is ever left loose
on a file, and nobody has to guess whether something happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

__all__ = ("PIECE", "run")

PIECE = 8 << 20
"""The most bytes that one piece should move: a hop costs about 0.1 ms, hashing 8 MiB about 4 ms."""

THREADS = 16
"""Pieces under way at once in one event loop: more than cores, so that waits for the disk overlap."""

_limiter: RunVar[CapacityLimiter] = RunVar("steelyard_threads")

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


async def run(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run one piece off the event loop and return its result.

    The loop's own limiter of 40 threads, which the application uses too, is left alone.

    Cancellation:
        Before the piece starts: no effect. Afterwards it is waited for and its result returned.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _limiter.set(limiter)
    return await to_thread.run_sync(function, *args, abandon_on_cancel=False, limiter=limiter)
