"""Blocking calls off the event loop: native work and blocking calls of Python run on threads of the native pool.

A call ends by itself within milliseconds to a few seconds, and has at most `CALL_BYTES` bytes of input or output. It is never
abandoned. If a caller is cancelled before its call starts, the call has no effect. A caller that is cancelled while its call
runs gets the result, and the cancellation at its next checkpoint. So no thread works on a file after its caller has left,
and each caller knows whether its call had an effect.

Calls run on threads of the native core, in one pool for the process. Results are put into a queue, and one wake of the event
loop delivers all that are there: a wake costs about 50 µs, however many results it delivers. Threads start when there is work,
and end within a second without work. `rust/core/src/threads/calls` decides which thread and which loop is woken, and when.

A **blocking call** waits for something outside the process, such as a server, so nothing bounds its time. `start` runs it on a
thread of a second pool, so that other calls always find a thread, and takes a function that ends the call early.

* **Ctrl-C** never separates a caller from its call, even when Python raises KeyboardInterrupt in the middle of this package.
* **Several event loops**, one in each thread: each has its own port to the pool.
* **A loop that ends** while calls run: the calls run to their end, and their results are dropped.
* **The end of the process** waits for the calls that run; blocking calls are made to end.
* **A fork**: the child has an empty pool; the waiting calls stay with the parent.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, TypeVarTuple

from anyio import CancelScope
from anyio.lowlevel import current_token

from steelyard._native import Pool
from steelyard._runtime.backend import on_asyncio, uninterrupted
from steelyard._runtime.calls._asyncio import AsyncioLoop
from steelyard._runtime.calls._call import BlockingCall, OpenFile
from steelyard._runtime.calls._loop import Loop
from steelyard._runtime.calls._trio import TrioLoop

__all__ = (
    "CALL_BYTES",
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

CALL_BYTES = 8 << 20
"""The most bytes that one call should process: a hop takes about 0.1 ms, and hashing 8 MiB about 4 ms."""

THREADS = 32
"""The most calls in progress in the process: more than there are cores, so that waits for the disk overlap."""

WAITS = 1024
"""The most blocking calls in progress in the process. Each holds a thread, which only waits."""

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


async def run(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Call a function off the event loop and return its result.

    Cancellation:
        Before the call starts: no effect. Afterwards the caller waits for the result and returns it. Only asyncio's own
        ``Task.cancel`` is raised in place of the result, because asyncio raises it only once. The dropped result is then closed:
        so every resource of a result must be an object with ``close``, alone or in a tuple, and never a bare descriptor.

    KeyboardInterrupt:
        As for a cancellation, the caller waits for the result. On trio the result is returned, and the exception is raised at a
        later checkpoint. On asyncio the exception is raised in place of the result, because it cannot be raised later.
    """
    result: ResultT = await _this_loop().run(function, args)
    return result


async def run_always(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Call a function that releases something. It runs even if the caller is already cancelled or Ctrl-C is pending.

    Cancellation:
        As for `run`, afterwards.
    """
    with CancelScope(shield=True):
        result: ResultT = await _this_loop().run(function, args, always=True)
    return result


class Cancellable(Protocol):
    """A call in progress, such as a native `Job`, that can be ended early from any thread."""

    def cancel(self) -> None: ...


async def run_job(job: Cancellable, function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Call a function that takes long off the event loop and return its result.

    Cancellation:
        As for `run`, but the job is cancelled. The result may then cover only a part of the work; see `job.cancelled`.
    """
    result: ResultT = await _this_loop().run(function, args, cancel=job.cancel)
    return result


@uninterrupted
def start(function: Callable[[*ArgsT], ResultT], *args: *ArgsT, end: Callable[[], object]) -> BlockingCall[ResultT]:
    """Call a function that waits for something outside the process, on a thread of its own. The call starts at once.

    The caller must wait for the result or call `BlockingCall.aclose`.

    Args:
        function: called in a thread that Python did not start, so it must not start threads.
        args: its arguments.
        end: makes the function end soon. It is called from any thread, perhaps before the function is called.
    """
    loop = _this_loop()
    call: BlockingCall[ResultT] = BlockingCall(end, loop.deliver_ends)
    _under_way.add(call)
    loop.start(_named, (function, args), call)
    return call


def _named(function: Callable[..., ResultT], args: tuple[Any, ...]) -> ResultT:
    # `threading.current_thread` makes a record of this thread that outlives the thread: the name identifies its owner.
    threading.current_thread().name = "steelyard-wait"
    return function(*args)


def checkpoint_here() -> Callable[[], Awaitable[None]]:
    """Return the `checkpoint` of this event loop. anyio's own function finds out at each call which loop runs."""
    checkpoint: Callable[[], Awaitable[None]] = current_token().backend_class.checkpoint
    return checkpoint


def threads() -> int:
    """Return how many threads there are at this moment."""
    return _pool.threads


def counts() -> dict[str, int]:
    """Return counts since the process began: ``hops``, ``starts`` and ``calls`` of threads, ``wakes`` of loops."""
    return dict(zip(("hops", "starts", "calls", "wakes"), _pool.counts(), strict=True))


class _Current(threading.local):
    """The event loop of the last call of this thread. It most likely makes the next call too, and a lookup is slow."""

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


def _start_empty() -> None:
    # The child has none of the parent's threads, and may have a locked mutex.
    global _pool, _waits, _under_way, _current
    _pool, _waits, _under_way, _current = Pool(THREADS), Pool(WAITS), weakref.WeakSet(), _Current()


def _end() -> None:
    for call in list(_under_way):
        call.end()
    _waits.close()
    _pool.close()  # the pool of this process, even after a fork


atexit.register(_end)
os.register_at_fork(after_in_child=_start_empty)
