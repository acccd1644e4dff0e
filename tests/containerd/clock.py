"""Time that passes until the service ends an idle call."""

from __future__ import annotations

import time

import pytest

__all__ = ("Clock",)

HANG_SECONDS = 60


class Clock:
    """Waits in a test.

    Args:
        log: gets what the service says when it ends a call.
    """

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self._log = log

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def pass_until_idle(self) -> None:
        """Let time pass until the service has ended a call."""
        end = time.monotonic() + HANG_SECONDS
        while " message for " not in self._log.text:
            assert time.monotonic() < end, "no call is idle"
            time.sleep(0.02)
