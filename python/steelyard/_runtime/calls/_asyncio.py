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
        # Called directly: anyio's function of the same name first finds out, each time, which backend runs.
        self._checkpoint_if_cancelled = current_token().backend_class.checkpoint_if_cancelled
        super().__init__(pool, waits)
        self._loop = self._event_loop.reference
        # For each cancelled future, the future that gets the result in its place.
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
        return "trio" not in sys.modules or self._task(loop) is not None  # no task: trio as a guest

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
            # A single call of native code: wherever Ctrl-C interrupts this function, the list says whether the pool has the call.
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
                # A cancel scope would raise its cancellation again; this exception is raised only once. So the result is dropped and closed.
                await self._close(result)
                # Without this, an error of this handler, the raised exception and this frame would refer to each other.
                del result
                raise
        if type(result) is not _Failed:
            return result
        try:
            raise result.error
        finally:
            del result, future  # the error's traceback refers to this frame, and the frame to the error

    async def _end(self, future: Any) -> Any:
        """Wait for the result, and ignore exceptions meanwhile: the caller already has one to raise."""
        first = future
        with CancelScope(shield=True):
            while True:
                future = self._last_replacement(future)
                try:
                    self._deliver()  # if Ctrl-C has ended the loop, the scheduled call of this method may be lost
                    result = await future
                except GeneratorExit:
                    raise
                except BaseException:  # noqa: BLE001, S112
                    continue
                # An entry whose value refers to its key is never collected, and the result may refer to the caller's frame.
                while first is not future:
                    first = self._replacements.pop(first)
                return result

    async def _close(self, result: object) -> None:
        """Close the resources of a dropped result."""
        for close in closers(result):
            closing = self._loop().create_future()
            self._port.submit(close, (), closing)
            await self._end(closing)
