"""Which event loop a call runs in: anyio serves both, but a thread has to wake one of them."""

from __future__ import annotations

import sys

__all__ = ("on_asyncio",)


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
