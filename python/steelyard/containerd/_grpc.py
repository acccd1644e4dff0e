"""The threads of grpcio's core, which ends the process, or waits for ever, when the system refuses it one."""

from __future__ import annotations

import os

from steelyard._runtime.threads import require

__all__ = ("require_threads",)

_LEAST, _MOST = 4, 16
"""The core keeps as many threads as there are processors, between these bounds."""

_BESIDE = 6
"""Threads beside those: the core's own guard, ours that serve, watch, count and answer a call, and one of native code."""


def require_threads(path: str | os.PathLike[str]) -> None:
    """Make sure that grpcio finds its threads; call it before the first server or channel is made.

    Args:
        path: the socket in question.

    Raises:
        StorageError: the system refused a thread (EAGAIN).
    """
    require(min(max(os.cpu_count() or 1, _LEAST), _MOST) + _BESIDE, path)
