"""The last response of a stream and the end of its call, sent to the transport at once.

grpcio does that for calls of one response, and has no public function for the last response of a stream. It saves a small
Read a third of its thread switches. The private function is inspected first: a release of grpcio without it sends the
two one after the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

__all__ = ("FINISH_LIMIT", "finish_stream")

FINISH_LIMIT = 64 << 10
"""The largest response that is sent so. The service does not wait until the transport has taken it, so a client that never
reads must not hold much memory."""

_KNOWN = ["rpc_event", "state", "serialized_response"]


def _found() -> Callable[..., None] | None:
    try:
        from grpc._server import _status  # noqa: PLC0415 - see above
    except ImportError:
        return None
    known: Callable[..., None] = _status
    return known if list(inspect.signature(known).parameters) == _KNOWN else None


_STATUS = _found()


def finish_stream(context: grpc.ServicerContext) -> Callable[[bytes], None] | None:
    """Return a function that sends a response and ends the call with OK, or None if this grpcio has none."""
    parts: list[Any] = [getattr(context, name, None) for name in ("_rpc_event", "_state")]
    if _STATUS is None or None in parts:
        return None
    return partial(_STATUS, *parts)
