"""The one module that knows of threads: everything that waits for native work or a blocking call goes through here.

The unit of work is a **piece**: a call that ends by itself within milliseconds to a few seconds, at most `PIECE` bytes of
input or output. A piece is never abandoned. A caller that is cancelled before its piece starts had no effect; one that
is cancelled while it runs gets its result, and the cancellation at its next checkpoint. So no thread is ever left loose
on a file, and nobody has to guess whether something happened.

Pieces run on threads of the native core, one pool for the process. What is finished gathers in a queue, and one wake of
the event loop delivers all that is there: a wake costs about 50 µs, whatever it brings. Threads start when there is work
and end by themselves within a second without. `rust/core/src/bridge` says who is woken when.

What waits for somebody else, a server for example, is no piece: nobody knows when it ends. `begin` gives it a thread of a
second pool, so that pieces always find one, and a way to end it early, which is part of the call.

* **Several event loops**, one in each thread: each has its own port to the pool.
* **A loop that ends** with pieces under way: they run to their end, and nobody hears of it.
* **The end of the process** waits for the pieces under way; what was begun is told to end.
* **A fork**: the child begins with an empty pool; what waited in the parent is the parent's.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, TypeVarTuple

import anyio
from anyio import CancelScope
from anyio.lowlevel import current_token

from steelyard._backend import on_asyncio
from steelyard._native import Job, Pool, Port

__all__ = ("PIECE", "Begun", "begin", "checkpoint_here", "counts", "run", "run_job", "soon_here", "threads")

PIECE = 8 << 20
"""The most bytes that one piece should move: a hop costs about 0.1 ms, hashing 8 MiB about 4 ms."""

THREADS = 32
"""Pieces under way at once in the process: more than cores, so that waits for the disk overlap."""

WAITS = 1024
"""Calls at once in the process that wait for somebody else: each holds a thread, which does nothing meanwhile."""

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


class _Loop(Protocol):
    """The way to the pool from one event loop."""

    def is_here(self) -> bool:
        """Return whether the caller is a task of that loop."""
        ...

    async def run(
        self, function: Callable[..., Any], args: tuple[Any, ...], cancel: Callable[[], object] | None = None
    ) -> Any:
        """Run one piece; `cancel` is called when the caller is cancelled meanwhile."""
        ...

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...], begun: Begun[Any]) -> None:
        """Have the function called on a thread of the second pool, and its end told to `begun`."""
        ...

    def soon(self, function: Callable[[], object]) -> None:
        """Have the function called in the loop's thread; from any thread. RuntimeError: the loop has ended."""
        ...


async def run(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run one piece off the event loop and return its result.

    Cancellation:
        Before the piece starts: no effect. Afterwards it is waited for and its result returned. Only asyncio's own
        ``Task.cancel`` is raised in place of the result, because it is said once; a result that has ``close`` is closed.
    """
    result: ResultT = await _this_loop().run(function, args)
    return result


async def run_job(job: Job, function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Run a long piece off the event loop and return its result.

    Cancellation:
        As for `run`, but the job is told, and what `function` returns may then be of a part only: ask `job.cancelled`.
    """
    result: ResultT = await _this_loop().run(function, args, job.cancel)
    return result


class Begun(Generic[ResultT]):
    """A call that was begun, and how it ended.

    Args:
        end: makes the call end soon; from any thread, any number of times.
    """

    def __init__(self, end: Callable[[], object]) -> None:
        self.end = end
        self._ended = anyio.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def ended(self) -> bool:
        """Whether the result is there."""
        return self._ended.is_set()

    async def result(self) -> ResultT:
        """Wait for the call's end and return its result.

        Cancellation:
            The call goes on, and may be waited for again.
        """
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        value: ResultT = self._value
        return value

    async def aclose(self) -> None:
        """Make the call end, and wait until it has, whatever it gives."""
        self.end()
        with CancelScope(shield=True):
            await self._ended.wait()

    def _tell(self, value: Any, error: BaseException | None) -> None:
        self._value, self._error = value, error
        self._ended.set()


def begin(function: Callable[[*ArgsT], ResultT], *args: *ArgsT, end: Callable[[], object]) -> Begun[ResultT]:
    """Call a function that waits for somebody else, on a thread; it begins at once.

    Whoever begins it is responsible for its end: by waiting for the result, or by `Begun.aclose`.

    Args:
        function: called in a thread that Python did not start, so that it must not start any.
        args: its arguments.
        end: makes it end soon; from any thread, also before it was called.
    """
    begun: Begun[ResultT] = Begun(end)
    _under_way.add(begun)
    _this_loop().begin(_named, (function, args), begun)
    return begun


def _named(function: Callable[..., ResultT], args: tuple[Any, ...]) -> ResultT:
    # Who asks for the current thread makes a record of it, which outlives it: let it say whose it was.
    threading.current_thread().name = "steelyard-wait"
    return function(*args)


def soon_here() -> Callable[[Callable[[], object]], None]:
    """Return what has a function called in this event loop's thread, from any thread; nothing happens if the loop has ended."""
    loop = _this_loop()

    def soon(function: Callable[[], object]) -> None:
        with suppress(RuntimeError):
            loop.soon(function)

    return soon


def checkpoint_here() -> Callable[[], Awaitable[None]]:
    """Return anyio's `checkpoint` for this event loop. That function itself asks each time which one it is."""
    checkpoint: Callable[[], Awaitable[None]] = current_token().backend_class.checkpoint
    return checkpoint


def threads() -> int:
    """Return how many threads there are at this moment."""
    return _pool.threads


def counts() -> dict[str, int]:
    """Return what was done since the process began: ``pieces``, ``starts`` and ``calls`` of threads, ``wakes`` of loops."""
    return dict(zip(("pieces", "starts", "calls", "wakes"), _pool.counts(), strict=True))


class _Here(threading.local):
    """The loop that ran the last piece of this thread: most likely that of the next, and asking is dear."""

    loop: _Loop | None = None


_here = _Here()
_pool = Pool(THREADS)
_waits = Pool(WAITS)
_under_way: weakref.WeakSet[Begun[Any]] = weakref.WeakSet()


def _this_loop() -> _Loop:
    loop = _here.loop
    if loop is None or not loop.is_here():
        loop = _here.loop = _Asyncio() if on_asyncio() else _Trio()
    return loop


class _Failed:
    """What a piece raised, on its way to who waits for it."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Asyncio:
    """The way to the pool from an asyncio event loop. Its tickets are the futures that the callers wait for."""

    def __init__(self) -> None:
        import asyncio  # noqa: PLC0415  # only a program that runs on it has it, and it is slow to import

        self._running, self._task = asyncio.get_running_loop, asyncio.current_task
        self._cancelled, self._invalid = asyncio.CancelledError, asyncio.InvalidStateError
        # Called directly: the function of the same name in anyio asks first, each time, which backend this is.
        self._checkpoint_if_cancelled = current_token().backend_class.checkpoint_if_cancelled
        self._loop = weakref.ref(asyncio.get_running_loop())  # whose thread may be the last to know of us
        self._port = _pool.port(self._wake)
        self._waits = _waits.port(self._wake_waits)
        # Of a future that was cancelled: the one that gets the result in its place.
        self._heirs: weakref.WeakKeyDictionary[asyncio.Future[Any], asyncio.Future[Any]] = weakref.WeakKeyDictionary()

    def is_here(self) -> bool:
        try:
            loop = self._running()
        except RuntimeError:
            return False
        if loop is not self._loop():
            return False
        return "trio" not in sys.modules or self._task(loop) is not None  # no task: a guest's

    def _wake(self) -> None:
        self.soon(self._deliver)

    def _wake_waits(self) -> None:
        self.soon(partial(_tell_begun, self._waits))

    def soon(self, function: Callable[[], object]) -> None:
        loop = self._loop()
        if loop is None:
            raise RuntimeError("the event loop is gone")
        loop.call_soon_threadsafe(function)

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...], begun: Begun[Any]) -> None:
        self._waits.submit(function, args, begun)

    def _deliver(self) -> None:
        for future, value, error in self._port.take():
            result = value if error is None else _Failed(error)
            try:
                future.set_result(result)
            except self._invalid:
                self._last_heir(future).set_result(result)

    def _last_heir(self, future: Any) -> Any:
        while future.cancelled():
            future = self._heirs.setdefault(future, future.get_loop().create_future())
        return future

    async def run(
        self, function: Callable[..., Any], args: tuple[Any, ...], cancel: Callable[[], object] | None = None
    ) -> Any:
        await self._checkpoint_if_cancelled()
        future = self._loop().create_future()  # type: ignore[union-attr]  # it runs
        self._port.submit(function, args, future)
        try:
            result = await future
        except self._cancelled:
            if cancel is not None:
                cancel()
            result = await self._end(future)
            if anyio.current_effective_deadline() != -math.inf:
                # Not from a cancel scope, which would raise it again. Nobody gets the result; what is open is closed.
                close = getattr(result, "close", None)
                if close is not None:
                    closing = self._running().create_future()
                    self._port.submit(close, (), closing)
                    await self._end(closing)
                raise
        if type(result) is not _Failed:
            return result
        try:
            raise result.error
        finally:
            del result, future  # the error's traceback holds this frame, and this frame the error

    async def _end(self, future: Any) -> Any:
        """Wait for the result, whatever is cancelled meanwhile."""
        with CancelScope(shield=True):
            while True:
                future = self._last_heir(future)
                try:
                    return await future
                except self._cancelled:
                    continue  # one is remembered already


class _Trio:
    """The way to the pool from a trio event loop. Its tickets are the tasks that wait."""

    def __init__(self) -> None:
        import outcome  # noqa: PLC0415  # as trio
        import trio  # noqa: PLC0415  # only a program that runs on trio has it

        self._lowlevel = trio.lowlevel
        self._value, self._error = outcome.Value, outcome.Error
        self._token = weakref.ref(trio.lowlevel.current_trio_token())
        self._port = _pool.port(self._wake)
        self._waits = _waits.port(self._wake_waits)

    def is_here(self) -> bool:
        try:
            self._lowlevel.current_task()
        except RuntimeError:
            return False
        return self._lowlevel.current_trio_token() is self._token()

    def _wake(self) -> None:
        self.soon(self._deliver)

    def _wake_waits(self) -> None:
        self.soon(partial(_tell_begun, self._waits))

    def soon(self, function: Callable[[], object]) -> None:
        token = self._token()
        if token is None:
            raise RuntimeError("the event loop is gone")
        token.run_sync_soon(function)

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...], begun: Begun[Any]) -> None:
        self._waits.submit(function, args, begun)

    def _deliver(self) -> None:
        for task, value, error in self._port.take():
            self._lowlevel.reschedule(task, self._value(value) if error is None else self._error(error))

    async def run(
        self, function: Callable[..., Any], args: tuple[Any, ...], cancel: Callable[[], object] | None = None
    ) -> Any:
        await self._lowlevel.checkpoint_if_cancelled()
        self._port.submit(function, args, self._lowlevel.current_task())

        def not_now(_: object) -> Any:
            if cancel is not None:
                cancel()
            return self._lowlevel.Abort.FAILED

        return await self._lowlevel.wait_task_rescheduled(not_now)


def _tell_begun(port: Port) -> None:
    for begun, value, error in port.take():
        begun._tell(value, error)  # noqa: SLF001  # one of our own


def _begin_anew() -> None:
    # It has none of the threads, and perhaps a locked mutex.
    global _pool, _waits, _under_way, _here
    _pool, _waits, _under_way, _here = Pool(THREADS), Pool(WAITS), weakref.WeakSet(), _Here()


def _end() -> None:
    for begun in list(_under_way):
        begun.end()
    _waits.close()
    _pool.close()  # whichever it is by then


atexit.register(_end)
os.register_at_fork(after_in_child=_begin_anew)
