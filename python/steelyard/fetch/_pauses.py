"""Failures that may pass, and the pauses between two attempts."""

from __future__ import annotations

import msgspec

from steelyard._runtime.backoff import pause_seconds

__all__ = ("Busy", "Changed", "Pauses", "Retries", "Transient", "Unsatisfiable")

_PROGRESS_BYTES = 1 << 20
"""The progress beyond all earlier attempts after which failures are counted from 0 again."""


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long a fetch tries again.

    A fetch tries again after the status 429, 500, 502, 503 or 504, after a broken connection, and after silence. The pause before the next
    attempt is random, up to a bound that doubles each time, and never shorter than the server's Retry-After.

    Attributes:
        attempts: the most attempts in a row that bring less than 1 MiB of new bytes.
        first_seconds: the bound of the first pause.
        most_seconds: the longest pause. A server that asks for a longer one ends the fetch.
        silence_seconds: the time without a byte after which a connection counts as broken.
    """

    attempts: int = 6
    first_seconds: float = 0.5
    most_seconds: float = 60.0
    silence_seconds: float = 30.0


class Transient(Exception):  # internal: it leads to another attempt, or to `Unreachable`
    """An attempt failed, and another one may succeed.

    Attributes:
        reason: the reason, in words.
        seconds: how long the server asks to wait, or None.
    """

    def __init__(self, reason: str, *, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds


class Busy(Exception):  # as above
    """The host has no free connection, and the request should not wait for one."""


class Changed(Exception):  # as above
    """The source has changed since the bytes in the ingest were received."""


class Unsatisfiable(Exception):  # as above
    """The source ends before the requested offset.

    Attributes:
        total: its size, or None if it does not report it.
    """

    def __init__(self, total: int | None) -> None:
        super().__init__(total)
        self.total = total


class Pauses:
    """The pauses of one fetch."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._failures = self._highest = 0

    def next(self, error: Transient, offset: int) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there must be no further attempt.

        Args:
            error: the failure.
            offset: the position that the fetch has reached. Only bytes beyond all earlier attempts are progress.
        """
        retries = self._retries
        if offset >= self._highest + _PROGRESS_BYTES:
            self._highest, self._failures = offset, 0
        self._failures += 1
        asked = error.seconds or 0.0
        if self._failures >= retries.attempts or asked > retries.most_seconds:
            return None
        pause = pause_seconds(self._failures - 1, first=retries.first_seconds, most=retries.most_seconds)
        return max(pause, asked)
