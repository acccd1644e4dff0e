"""Which event loop a call runs in, and where the two differ: how a thread wakes one, and what Ctrl-C does in it.

Ctrl-C cancels the main task of `asyncio.run` once, by asyncio's own `Task.cancel`, which no shield holds off. trio raises
KeyboardInterrupt in whatever Python code of the main task runs, unless a function is protected: then at the next checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from anyio import CancelScope, get_cancelled_exc_class

__all__ = ("Here", "on_asyncio", "outlast", "protect", "uninterrupted")

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


class Here:
    """The event loop that this was made in, for other threads."""

    def __init__(self) -> None:
        if on_asyncio():
            import asyncio  # noqa: PLC0415  # only a program that runs on it has it, and it is slow to import

            loop = asyncio.get_running_loop()
            self._soon: Callable[..., object] = loop.call_soon_threadsafe
            self._running = loop.is_running
        else:
            import trio  # noqa: PLC0415  # only a program that runs on trio has it

            self._soon = trio.lowlevel.current_trio_token().run_sync_soon
            self._running = lambda: self.soon(bool)

    @property
    def running(self) -> bool:
        """Whether the loop runs: one that has ended, or was stopped, will not get to what is asked of it."""
        return self._running()

    def soon(self, function: Callable[..., object], *args: object) -> bool:
        """Have the function called in the loop's thread; return False if the loop has ended."""
        try:
            self._soon(function, *args)
        except RuntimeError:
            return False
        return True


_uninterrupted: list[Callable[..., Any]] = []
"""The functions that trio is still to be told of."""


def uninterrupted(function: FunctionT) -> FunctionT:
    """Have trio raise KeyboardInterrupt in no step of this function, nor of what it calls, but at the next checkpoint.

    For every function that hands something over, or lets go of something, and must not stop half-way. It costs a call
    nothing. It may be a coroutine function; it must not call functions of the user's that work for long.
    """
    _uninterrupted.append(function)
    if "trio" in sys.modules:
        protect()
    return function


def protect() -> None:
    """Tell trio which functions are `uninterrupted`."""
    import trio  # noqa: PLC0415  # only a program that runs on trio has it

    while _uninterrupted:
        trio.lowlevel.enable_ki_protection(_uninterrupted.pop())


@uninterrupted
async def outlast(event: anyio.Event, look: Callable[[], object] = bool) -> None:
    """Wait for an event that is sure to come, whatever is cancelled meanwhile; Ctrl-C is heeded afterwards.

    Args:
        event: what is waited for.
        look: called before each wait.
    """
    broken: BaseException | None = None
    with CancelScope(shield=True):
        while not event.is_set():
            try:
                look()
                await event.wait()
            except (get_cancelled_exc_class(), KeyboardInterrupt) as error:
                # What no shield holds off: asyncio's own cancel, and Ctrl-C.
                broken = error
    try:
        if broken is not None:
            raise broken
    finally:
        del broken  # its traceback holds this frame
