"""A clock for the service, so that a client is idle when the test says so, however slow the machine is."""

from __future__ import annotations

import threading
import time

import pytest

__all__ = ("Clock",)

HANG_SECONDS = 60


class Clock:
    """A clock that only the test moves; it knows when the thread that ends idle calls has looked at it.

    Args:
        log: gets what that thread says when it ends a call.
    """

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.now = time.monotonic()
        self.looks = 0
        self._log = log

    def monotonic(self) -> float:
        """Return the time, in place of the function of that name."""
        self.looks += threading.current_thread().name == "containerd-idle"
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time pass, and the thread look twice: its first look may have begun before."""
        self.now += seconds
        seen, end = self.looks, time.monotonic() + HANG_SECONDS
        while self.looks < seen + 2:
            assert time.monotonic() < end
            time.sleep(0.005)

    def pass_until_idle(self, seconds: float) -> None:
        """Let time pass until the service has ended a call: it may begin to wait for the client only after the clock has moved."""
        end = time.monotonic() + HANG_SECONDS
        while " message for " not in self._log.text:
            assert time.monotonic() < end, "no call is idle"
            self.pass_by(seconds)
