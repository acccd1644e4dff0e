"""A committed blob in memory."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from steelyard.model import Info

__all__ = ("Blob", "Note")


class Note(NamedTuple):
    """The time at which a collection first found that no root keeps a blob, by two clocks."""

    at: datetime
    monotonic: float

    @classmethod
    def now(cls) -> Self:
        """Return a note with the current time."""
        return cls(datetime.now(UTC), time.monotonic())

    def is_older_than(self, other: Self, age: timedelta) -> bool:
        """Return whether this note is older than `other` by at least `age`, on both clocks, because the wall clock may be set."""
        return other.at - self.at >= age and self.monotonic + age.total_seconds() <= other.monotonic


class Blob:
    """A committed blob. It is damaged if its `data` does not match its `info`.

    Attributes:
        data: its bytes.
        info: its info.
        note: the time at which a collection first found it to be garbage, or None.
        used: the time at which it was last stored, found or opened, by the monotonic clock.
    """

    def __init__(self, data: bytes, info: Info) -> None:
        self.data = data
        self.info = info
        self.note: Note | None = None
        self.used = time.monotonic()

    def is_whole(self, size: int | None) -> bool:
        """Return whether the blob has the right size; `size` is the size that the caller expects, or None."""
        return len(self.data) == self.info.size and size in {None, self.info.size}

    def use(self) -> None:
        """Record a use of the blob."""
        self.used = time.monotonic()

    def renew(self) -> None:
        """Treat the blob as stored just now. Called before a caller learns that it is stored."""
        self.note = None
        self.use()
