"""The one module that knows of threads: everything that waits for native work or a blocking call goes through here.

The unit of work is a **piece**: a call that ends by itself within milliseconds to a few seconds, at most `PIECE` bytes of
input or output; or a whole blob under a `Job`, by which it can be ended within that time. A piece is never abandoned.
A caller that is cancelled before its piece starts had no effect; one that is cancelled while it runs gets its result,
and the cancellation at its next checkpoint. So no thread is ever left loose on a file, and nobody has to guess whether
something happened.

Pieces run on threads of the native core, one pool for the process. What is finished gathers in a queue, and one wake of
the event loop delivers all that is there: a wake costs about 50 µs, whatever it brings. Threads start when there is work
and end by themselves within a second without.

* **Several event loops**, one in each thread: each has its own port to the pool.
* **A loop that ends** with pieces under way: they run to their end, and nobody hears of it.
* **The end of the process** waits for the pieces under way.
* **A fork**: the child begins with an empty pool; what waited in the parent is the parent's.
"""

from __future__ import annotations

import atexit
import math
import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, TypeVarTuple

import anyio
from anyio import CancelScope
from anyio.lowlevel import RunVar, checkpoint_if_cancelled

from steelyard._backend import on_asyncio
from steelyard._native import Job, Pool

__all__ = ("PIECE", "run", "run_job", "threads")

PIECE = 8 << 20
"""The most bytes that one piece should move: a hop costs about 0.1 ms, hashing 8 MiB about 4 ms."""

THREADS = 32
"""Pieces under way at once in the process: more than cores, so that waits for the disk overlap."""

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


class _Loop(Protocol):
    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], cancel: Callable[[], object]) -> Any: ...


async def run(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run one piece off the event loop and return its result.

    Cancellation:
        Before the piece starts: no effect. Afterwards it is waited for and its result returned. Only asyncio's own
        ``Task.cancel`` is raised in place of the result, because it is said once; a result that has ``close`` is closed.
    """
    loop = _this_loop()
    await checkpoint_if_cancelled()
    result: ResultT = await loop.run(function, args, _nothing)
    return result


async def run_job(job: Job, function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run a long piece off the event loop and return its result.

    Cancellation:
        As for `run`, but the job is told, and what `function` returns may then be of a part only: ask `job.cancelled`.
    """
    loop = _this_loop()
    await checkpoint_if_cancelled()
    result: ResultT = await loop.run(function, args, job.cancel)
    return result


def threads() -> int:
    """Return how many threads there are at this moment."""
    return _pool.threads


_loops: RunVar[_Loop] = RunVar("steelyard_loop")
_pool = Pool(THREADS)


def _nothing() -> None:
    """What a piece that ends by itself needs when its caller is cancelled."""


def _this_loop() -> _Loop:
    try:
        return _loops.get()
    except LookupError:
        loop = _open()
        _loops.set(loop)
        return loop


def _open() -> _Loop:
    return _Asyncio() if on_asyncio() else _Trio()


class _Call:
    """A piece that was submitted."""

    __slots__ = ("done", "error", "value", "waiter")

    def __init__(self, waiter: Any) -> None:
        self.waiter = waiter
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    def result(self) -> Any:
        try:
            if self.error is not None:
                raise self.error
            return self.value
        finally:
            self.error = self.waiter = None  # the error's traceback holds this frame, and this frame the error


class _Asyncio:
    """The way to the pool from an asyncio event loop."""

    def __init__(self) -> None:
        import asyncio  # noqa: PLC0415  # only a program that runs on it has it, and it is slow to import

        self._cancelled = asyncio.CancelledError
        self._loop = asyncio.get_running_loop()
        self._port = _pool.port(self._wake)

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        call: _Call
        for call, value, error in self._port.take():
            call.value, call.error, call.done = value, error, True
            if call.waiter is not None and not call.waiter.done():
                call.waiter.set_result(None)

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], cancel: Callable[[], object]) -> Any:
        call = _Call(self._loop.create_future())
        self._port.submit(function, args, call)
        try:
            await call.waiter
        except self._cancelled:
            cancel()
            await self._finish(call)
            if anyio.current_effective_deadline() != -math.inf:
                # Not from a cancel scope, which would raise it again. Nobody gets the result; what is open is closed.
                close = getattr(call.value, "close", None)
                if close is not None:
                    ending = _Call(None)
                    self._port.submit(close, (), ending)
                    await self._finish(ending)
                raise
        return call.result()

    async def _finish(self, call: _Call) -> None:
        with CancelScope(shield=True):
            while not call.done:
                call.waiter = self._loop.create_future()
                try:
                    await call.waiter
                except self._cancelled:
                    continue  # one is remembered already


class _Trio:
    """The way to the pool from a trio event loop."""

    def __init__(self) -> None:
        import trio  # noqa: PLC0415  # only a program that runs on trio has it

        self._lowlevel = trio.lowlevel
        self._token = trio.lowlevel.current_trio_token()
        self._port = _pool.port(self._wake)

    def _wake(self) -> None:
        self._token.run_sync_soon(self._deliver)

    def _deliver(self) -> None:
        call: _Call
        for call, value, error in self._port.take():
            call.value, call.error = value, error
            self._lowlevel.reschedule(call.waiter)

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], cancel: Callable[[], object]) -> Any:
        call = _Call(self._lowlevel.current_task())
        self._port.submit(function, args, call)

        def not_now(_: object) -> Any:
            cancel()
            return self._lowlevel.Abort.FAILED

        await self._lowlevel.wait_task_rescheduled(not_now)
        return call.result()


def _begin_anew() -> None:
    # It has none of the threads, and perhaps a locked mutex.
    global _pool, _loops
    _pool, _loops = Pool(THREADS), RunVar("steelyard_loop")


def _end() -> None:
    _pool.close()  # whichever it is by then


atexit.register(_end)
os.register_at_fork(after_in_child=_begin_anew)
