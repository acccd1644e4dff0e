"""A task that belongs to an object, not to a scope: for iterators that work ahead of their consumer.

An iterator must not keep a task group open between two of its values: the group's scope would overlap the consumer's own
scopes, which trio forbids and asyncio handles wrongly. So the work runs in a task of the event loop itself, and the object that
started it must end it: by `aclose`, when it is exhausted, or by `cancel_soon`, when it is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio import CancelScope

from steelyard._runtime.backend import EventLoop, outlast, uninterrupted
from steelyard._runtime.fork import ProcessBound

__all__ = ("Background",)


class Background(ProcessBound):
    """A running task; `function` must raise nothing but cancellation."""

    @uninterrupted
    def __init__(self, function: Callable[[], Awaitable[None]]) -> None:
        self._scope = CancelScope()
        self._done = anyio.Event()
        scope, done = self._scope, self._done

        async def run() -> None:
            # It refers only to the owner's `function`, so that an owner without other references is collected.
            try:
                with scope:
                    await function()
            finally:
                done.set()

        self._loop = EventLoop()
        self._loop.start_task(run)

    def cancel_soon(self) -> None:
        """Have the task cancelled. Any thread may call this, even during garbage collection of Python objects."""
        self._loop.try_call(self._scope.cancel)  # a loop that has ended has no task any more

    async def aclose(self) -> None:
        """Cancel the task and wait for its end."""
        self._scope.cancel()
        await outlast(self._done)
