"""Failures that may pass, and the pauses between two attempts."""

from __future__ import annotations

import msgspec

from steelyard._runtime.backoff import pause_seconds

__all__ = ("Busy", "Changed", "Pauses", "Retries", "Transient", "Unsatisfiable")

_PROGRESS_BYTES = 1 << 20
"""The bytes beyond all earlier attempts after which failures are counted from 0 again."""


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long a fetch tries again.

    Responses with status 429, 500, 502, 503 and 504, broken connections and silence are followed by another attempt. The pause
    before it is random, up to a bound that doubles each time, and never shorter than a Retry-After of the server.

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


class Transient(Exception):  # not an error of its own: it ends in another attempt, or in `Unreachable`
    """An attempt failed, and another one may not.

    Attributes:
        reason: the reason, in words.
        seconds: how long the server asks to wait, or None.
    """

    def __init__(self, reason: str, *, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds


class Busy(Exception):  # as above
    """The host has no connection that is free, and none was to be waited for."""


class Changed(Exception):  # as above
    """The source has other bytes now than those that the ingest holds."""


class Unsatisfiable(Exception):  # as above
    """The source ends before the requested offset.

    Attributes:
        total: its size, or None if it does not say.
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
        """Return the seconds to wait before the next attempt, or None if there is none.

        Args:
            error: the failure.
            offset: how far the fetch has come. Only what no earlier attempt reached is progress.
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
