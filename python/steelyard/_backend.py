"""Which event loop a call runs in: anyio serves both, but a thread has to wake one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable

__all__ = ("caller", "on_asyncio")


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


def caller() -> Callable[..., object]:
    """Return a function by which any thread has this event loop call something soon: the function, then its arguments.

    It raises RuntimeError once the loop has ended.
    """
    if on_asyncio():
        import asyncio  # noqa: PLC0415  # only a program that runs on it has it, and it is slow to import

        return asyncio.get_running_loop().call_soon_threadsafe
    import trio  # noqa: PLC0415  # only a program that runs on trio has it

    return trio.lowlevel.current_trio_token().run_sync_soon
