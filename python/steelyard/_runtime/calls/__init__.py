"""Blocking calls off the event loop: native work and blocking calls of Python run on threads of the native pool.

The unit of work is a **piece**: a call that ends by itself within milliseconds to a few seconds, with at most `PIECE` bytes
of input or output. A piece is never abandoned. A caller that is cancelled before its piece starts has had no effect. A
caller that is cancelled while its piece runs gets the result, and the cancellation at its next checkpoint. So no thread
goes on with a file after its caller has left, and no caller has to guess whether something happened.

Pieces run on threads of the native core, in one pool for the process. Results are put into a queue, and one wake of the event
loop delivers all that are there: a wake costs about 50 µs, however many results it delivers. Threads start when there is work,
and end within a second without work. `rust/core/src/threads/calls` decides which thread and which loop is woken, and when.

A call that waits for something outside, such as a server, is not a piece, because its end is not known. `start` gives it
a thread of a second pool, so that pieces always find one, and takes a function that ends it early.

* **Ctrl-C** never separates a caller from its piece, even when Python raises KeyboardInterrupt in the middle of this package.
* **Several event loops**, one in each thread: each has its own port to the pool.
* **A loop that ends** with pieces under way: they run to their end, and their results are dropped.
* **The end of the process** waits for the pieces under way; blocking calls under way are made to end.
* **A fork**: the child has an empty pool; what waited in the parent stays with the parent.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

from anyio import CancelScope
from anyio.lowlevel import current_token

from steelyard._native import Job, Pool
from steelyard._runtime.backend import on_asyncio, uninterrupted
from steelyard._runtime.calls._asyncio import AsyncioLoop
from steelyard._runtime.calls._call import BlockingCall, OpenFile
from steelyard._runtime.calls._loop import Loop
from steelyard._runtime.calls._trio import TrioLoop

__all__ = (
    "PIECE",
    "BlockingCall",
    "OpenFile",
    "checkpoint_here",
    "counts",
    "run",
    "run_always",
    "run_job",
    "start",
    "threads",
)

PIECE = 8 << 20
"""The most bytes that one piece should move: a hop costs about 0.1 ms, hashing 8 MiB about 4 ms."""

THREADS = 32
"""Pieces under way at once in the process: more than cores, so that waits for the disk overlap."""

WAITS = 1024
"""Blocking calls at once in the process: each holds a thread, which only waits."""

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


async def run(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run one piece off the event loop and return its result.

    Cancellation:
        Before the piece starts: no effect. Afterwards it is waited for and its result returned. Only asyncio's own
        ``Task.cancel`` is raised in place of the result, because asyncio raises it once. So whatever a result owns must be an
        object with ``close``, alone or in a tuple, and never a bare descriptor: it is closed if no caller gets it.

    KeyboardInterrupt:
        As a cancellation: the piece is waited for. On trio the result is returned and the exception raised at a later
        checkpoint; on asyncio, where there is no other chance, it is raised in place of the result.
    """
    result: ResultT = await _this_loop().run(function, args)
    return result


async def run_always(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run one piece that releases something: it runs even if the caller is cancelled already, or Ctrl-C is pending.

    Cancellation:
        As for `run`, afterwards.
    """
    with CancelScope(shield=True):
        result: ResultT = await _this_loop().run(function, args, always=True)
    return result


async def run_job(job: Job, function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run a long piece off the event loop and return its result.

    Cancellation:
        As for `run`, but the job is cancelled, and what `function` returns may then be of a part only: ask `job.cancelled`.
    """
    result: ResultT = await _this_loop().run(function, args, cancel=job.cancel)
    return result


@uninterrupted
def start(function: Callable[[*ArgsT], ResultT], *args: *ArgsT, end: Callable[[], object]) -> BlockingCall[ResultT]:
    """Call a function that waits for something outside, on a thread of its own; it starts at once.

    The caller is responsible for its end: it waits for the result, or calls `BlockingCall.aclose`.

    Args:
        function: called in a thread that Python did not start, so that it must not start any.
        args: its arguments.
        end: makes it end soon; from any thread, also before it was called.
    """
    loop = _this_loop()
    call: BlockingCall[ResultT] = BlockingCall(end, loop.deliver_ends)
    _under_way.add(call)
    loop.start(_named, (function, args), call)
    return call


def _named(function: Callable[..., ResultT], args: tuple[Any, ...]) -> ResultT:
    # Python records a thread that asks for itself, and the record outlives the thread: the name says whose it was.
    threading.current_thread().name = "steelyard-wait"
    return function(*args)


def checkpoint_here() -> Callable[[], Awaitable[None]]:
    """Return the `checkpoint` of this event loop. anyio's own function asks at each call which loop runs."""
    checkpoint: Callable[[], Awaitable[None]] = current_token().backend_class.checkpoint
    return checkpoint


def threads() -> int:
    """Return how many threads there are at this moment."""
    return _pool.threads


def counts() -> dict[str, int]:
    """Return what was done since the process began: ``pieces``, ``starts`` and ``calls`` of threads, ``wakes`` of loops."""
    return dict(zip(("pieces", "starts", "calls", "wakes"), _pool.counts(), strict=True))


class _Current(threading.local):
    """The loop that ran the last piece of this thread. It most likely runs the next one, and finding it again is slow."""

    loop: Loop | None = None


_current = _Current()
_pool = Pool(THREADS)
_waits = Pool(WAITS)
_under_way: weakref.WeakSet[BlockingCall[Any]] = weakref.WeakSet()


def _this_loop() -> Loop:
    loop = _current.loop
    if loop is None or not loop.is_here():
        loop = _current.loop = (AsyncioLoop if on_asyncio() else TrioLoop)(_pool, _waits)
    return loop


def _begin_anew() -> None:
    # The child has none of the threads, and perhaps a locked mutex.
    global _pool, _waits, _under_way, _current
    _pool, _waits, _under_way, _current = Pool(THREADS), Pool(WAITS), weakref.WeakSet(), _Current()


def _end() -> None:
    for call in list(_under_way):
        call.end()
    _waits.close()
    _pool.close()  # the one of this process, also after a fork


atexit.register(_end)
os.register_at_fork(after_in_child=_begin_anew)
