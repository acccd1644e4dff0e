"""Which event loop a call runs in, and where the two differ: how a thread wakes one, and what Ctrl-C does in it.

Ctrl-C cancels the main task of `asyncio.run` once, by asyncio's own `Task.cancel`, which no shield holds off. trio raises
KeyboardInterrupt in whatever Python code of the main task runs, unless a function is protected: then at the next checkpoint.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from anyio import CancelScope, get_cancelled_exc_class

__all__ = ("EventLoop", "on_asyncio", "outlast", "protect", "uninterrupted")

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def on_asyncio() -> bool:
    """Return whether the caller runs on asyncio; otherwise it runs on trio.

    Inside trio there is no asyncio task, even when trio is a guest in asyncio's loop. A program that has not imported
    asyncio does not run on it, and it is not imported for the question: that would cost every start 15 ms.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


class EventLoop:
    """The event loop that runs where this is made, for other threads. It is referred to weakly.

    This is the one way into a loop from outside: from a thread of Python or of the native core, and from a finalizer.
    """

    def __init__(self) -> None:
        loop: object
        if on_asyncio():
            import asyncio  # noqa: PLC0415  # only a program that runs on it has it, and it is slow to import

            loop, self._method = asyncio.get_running_loop(), "call_soon_threadsafe"
        else:
            import trio  # noqa: PLC0415  # only a program that runs on trio has it

            loop, self._method = trio.lowlevel.current_trio_token(), "run_sync_soon"
        self.reference: Callable[[], Any] = weakref.ref(loop)
        """Returns asyncio's loop or trio's token, or None when it is gone."""

    @property
    def running(self) -> bool:
        """Whether the loop runs: one that has ended, or was stopped, calls nothing any more."""
        loop = self.reference()
        is_running = getattr(loop, "is_running", None)
        return is_running() if is_running is not None else self.try_call(bool)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have the function called in the loop's thread, soon; from any thread.

        Raises:
            RuntimeError: the loop has ended.
        """
        loop = self.reference()
        if loop is None:
            raise RuntimeError("the event loop is gone")
        getattr(loop, self._method)(function, *args)

    def try_call(self, function: Callable[..., object], *args: object) -> bool:
        """Do the same as `call`; return False if the loop has ended."""
        try:
            self.call(function, *args)
        except RuntimeError:
            return False
        return True


_uninterrupted: list[Callable[..., Any]] = []
"""Functions that are not registered with trio yet."""


def uninterrupted(function: FunctionT) -> FunctionT:
    """Have trio raise KeyboardInterrupt in no step of this function, nor of what it calls, but at the next checkpoint.

    For every function that transfers or releases something and must not stop half-way. It adds no cost to a call. The
    function may be a coroutine function; it must not call long functions of the user.
    """
    _uninterrupted.append(function)
    if "trio" in sys.modules:
        protect()
    return function


def protect() -> None:
    """Register with trio the functions that are `uninterrupted`."""
    import trio  # noqa: PLC0415  # only a program that runs on trio has it

    while _uninterrupted:
        trio.lowlevel.enable_ki_protection(_uninterrupted.pop())


@uninterrupted
async def outlast(event: anyio.Event, before_wait: Callable[[], object] = bool) -> None:
    """Wait for an event that is sure to come, whatever is cancelled meanwhile. Ctrl-C is raised afterwards.

    Args:
        event: what is waited for.
        before_wait: called before each wait.
    """
    broken: BaseException | None = None
    with CancelScope(shield=True):
        while not event.is_set():
            try:
                before_wait()
                await event.wait()
            except (get_cancelled_exc_class(), KeyboardInterrupt) as error:
                # No shield stops these: asyncio's own cancel, and Ctrl-C.
                broken = error
    try:
        if broken is not None:
            raise broken
    finally:
        del broken  # its traceback holds this frame
