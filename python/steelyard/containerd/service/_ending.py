"""A response and the end of its call in one trip to the transport.

grpcio does that for calls of one response, and has no public way for the last one of a stream. It saves a small Read a third of
its switches between threads. What is used here is looked at first: in a release of grpcio that does it otherwise, two trips do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

__all__ = ("MOST", "end_with")

MOST = 64 << 10
"""The largest response for it. Nobody waits for the transport to take it, so a client that reads none must not tie up much."""

_KNOWN = ["rpc_event", "state", "serialized_response"]


def _found() -> Callable[..., None] | None:
    try:
        from grpc._server import _status  # noqa: PLC0415 - see above
    except ImportError:
        return None
    known: Callable[..., None] = _status
    return known if list(inspect.signature(known).parameters) == _KNOWN else None


_STATUS = _found()


def end_with(context: grpc.ServicerContext) -> Callable[[bytes], None] | None:
    """Return what sends a response and ends the call well, or None where this grpcio has no such thing."""
    parts: list[Any] = [getattr(context, name, None) for name in ("_rpc_event", "_state")]
    if _STATUS is None or None in parts:
        return None
    return partial(_STATUS, *parts)
