"""Calls from an asyncio event loop."""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable
from itertools import starmap
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope
from anyio.lowlevel import current_token

from steelyard._native import Cancelled, Pool
from steelyard._runtime.calls._call import closers
from steelyard._runtime.calls._loop import Loop

if TYPE_CHECKING:
    import asyncio

__all__ = ("AsyncioLoop",)


class _Failed:
    """The error of a call, on its way to the caller."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class AsyncioLoop(Loop):
    """An asyncio event loop. Its tickets are the futures that the callers wait for.

    Ctrl-C is a cancellation of the main task if `asyncio.Runner` runs the loop. A second one, and the first in a loop
    without a runner, is a KeyboardInterrupt in whatever Python code runs at that moment, this module's too.
    """

    def __init__(self, pool: Pool, waits: Pool) -> None:
        import asyncio  # noqa: PLC0415  # only a program that runs on it has it, and it is slow to import

        self._running, self._task = asyncio.get_running_loop, asyncio.current_task
        self._cancelled, self._invalid = asyncio.CancelledError, asyncio.InvalidStateError
        # Called directly: the function of the same name in anyio asks first, each time, which backend this is.
        self._checkpoint_if_cancelled = current_token().backend_class.checkpoint_if_cancelled
        super().__init__(pool, waits)
        self._loop = self._event_loop.reference
        # Of a future that was cancelled: the future that gets the result in its place.
        self._replacements: weakref.WeakKeyDictionary[asyncio.Future[Any], asyncio.Future[Any]] = (
            weakref.WeakKeyDictionary()
        )

    def is_here(self) -> bool:
        try:
            loop = self._running()
        except RuntimeError:
            return False
        if loop is not self._loop():
            return False
        return "trio" not in sys.modules or self._task(loop) is not None  # no task: a guest's

    def _give(self, ticket: Any, value: Any, error: BaseException | None) -> None:
        result = value if error is None else _Failed(error)
        try:
            ticket.set_result(result)
        except self._invalid:
            replacement = self._last_replacement(ticket)
            if not replacement.done():
                replacement.set_result(result)

    def _last_replacement(self, future: Any) -> Any:
        while future.cancelled():
            future = self._replacements.setdefault(future, future.get_loop().create_future())
        return future

    async def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        cancel: Callable[[], object] | None = None,
        always: bool = False,
    ) -> Any:
        if not always:
            await self._checkpoint_if_cancelled()
        future = self._loop().create_future()
        submitted: list[None] = []
        try:
            # A single call of native code: the list says for certain whether the pool has the call, wherever Ctrl-C breaks in.
            submitted.extend(starmap(self._port.submit, ((function, args, future),)))
            result = await future
        except BaseException as broken:
            if not submitted or isinstance(broken, GeneratorExit):
                raise
            if cancel is not None:
                cancel()
            self._cancel(function, future)
            try:
                result = await self._end(future)
            finally:
                self._forget(future)
            if (
                not isinstance(broken, self._cancelled)
                or anyio.current_effective_deadline() != -math.inf
                or (type(result) is _Failed and type(result.error) is Cancelled)
            ):
                # Not from a cancel scope, which would raise it again. The result is dropped, and closed if it is open.
                await self._close(result)
                del result  # an error that was made in this handler leads to the exception that is raised, and back to this frame
                raise
        if type(result) is not _Failed:
            return result
        try:
            raise result.error
        finally:
            del result, future  # the error's traceback holds this frame, and this frame the error

    async def _end(self, future: Any) -> Any:
        """Wait for the result, whatever is raised meanwhile: the caller has one exception to raise already."""
        first = future
        with CancelScope(shield=True):
            while True:
                future = self._last_replacement(future)
                try:
                    self._deliver()  # a loop that Ctrl-C has ended may have lost the call that was to do it
                    result = await future
                except GeneratorExit:
                    raise
                except BaseException:  # noqa: BLE001, S112
                    continue
                # A value that leads back to its key is never collected: the result may lead to the caller's frame.
                while first is not future:
                    first = self._replacements.pop(first)
                return result

    async def _close(self, result: object) -> None:
        """Close what a dropped result owns."""
        for close in closers(result):
            closing = self._loop().create_future()
            self._port.submit(close, (), closing)
            await self._end(closing)
