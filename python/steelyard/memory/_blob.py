"""A committed blob in memory."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from steelyard.model import Info

__all__ = ("Blob", "Note")


class Note(NamedTuple):
    """When a collection first found that nothing keeps a blob, by two clocks."""

    at: datetime
    monotonic: float

    @classmethod
    def now(cls) -> Self:
        """Return a note of this moment."""
        return cls(datetime.now(UTC), time.monotonic())

    def is_older_than(self, other: Self, age: timedelta) -> bool:
        """Return whether it was made that long before another: both clocks must say so, because one may be set."""
        return other.at - self.at >= age and self.monotonic + age.total_seconds() <= other.monotonic


class Blob:
    """A committed blob. It is damaged if its `data` does not match its `info`.

    Attributes:
        data: its bytes.
        info: its info.
        note: since when a collection knows it as garbage, or None.
        used: when it was last stored, found or opened, by the monotonic clock.
    """

    def __init__(self, data: bytes, info: Info) -> None:
        self.data = data
        self.info = info
        self.note: Note | None = None
        self.used = time.monotonic()

    def is_whole(self, size: int | None) -> bool:
        """Return whether the blob has the right size; `size` is the caller's, if known."""
        return len(self.data) == self.info.size and size in {None, self.info.size}

    def use(self) -> None:
        """Note that it was used."""
        self.used = time.monotonic()

    def renew(self) -> None:
        """Have it count as stored just now, before a caller learns that it is stored."""
        self.note = None
        self.use()
