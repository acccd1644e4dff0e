"""The reports of the native server: log entries, and refs that have become free, for which tasks may wait."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from steelyard._native import ContentServer
from steelyard._runtime.calls import run_job

__all__ = ("pass_on",)

logger = logging.getLogger("steelyard.containerd")

_LEVELS = {"debug": logging.DEBUG, "warning": logging.WARNING, "error": logging.ERROR}


class _Unwanted:
    """A wait that need not be ended early, because the end of the server ends it."""

    def cancel(self) -> None:
        """Do nothing."""


async def pass_on(server: ContentServer, released: Callable[[str], object]) -> None:
    """Write the server's log entries, and call `released` for each ref that becomes free, until the server has ended."""
    while True:
        server.log_all(logger.isEnabledFor(logging.DEBUG))
        await run_job(_Unwanted(), server.noted)
        notes = server.take()
        if notes is None:
            return
        logs, refs = notes
        for level, message, method, subject, code, ended in logs:
            fields: dict[str, Any] = {"method": method, "subject": subject, "code": code}
            if ended is not None:
                seconds, bytes_in, bytes_out = ended
                fields |= {"seconds": round(seconds, 6), "bytes_in": bytes_in, "bytes_out": bytes_out}
            logger.log(_LEVELS[level], "%s", message, extra={"fields": fields})
        for ref in refs:
            released(ref)
