"""Waiting for the bytes of pipes and terminals in the event loop: a thread that reads an idle pipe cannot be cancelled."""

from __future__ import annotations

from typing import Any

__all__ = ("readable",)


async def readable(file: Any) -> bool:
    """Wait until a pipe or a terminal has bytes or has ended; return False for a file of another kind, which needs no wait.

    Cancellation:
        Nothing has been read.
    """
    from anyio import wait_readable  # noqa: PLC0415  # it imports sockets and TLS, which would slow down every start

    try:
        await wait_readable(file)
    except (AttributeError, OSError, ValueError):
        return False  # no descriptor, or one of a kind that is always ready
    return True
