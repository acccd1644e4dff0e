"""The changes while collections and questions run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from steelyard.digest import Digest

__all__ = ("Change", "Changes")


class Change(NamedTuple):
    """A change that may keep a blob. The task that marks looks up the state itself, which may have changed again.

    Attributes:
        kind: a name that was set, a lease that protects a blob, an ingest that expects one, labels that were set, or a blob that was
            stored or found.
        key: the name, the ID of the lease, or the ref; empty for a blob.
        digest: the blob, if it is known.
    """

    kind: Literal["name", "lease", "ingest", "labels", "stored"]
    key: str = ""
    digest: Digest | None = None


class Changes:
    """The changes of a store, for those that mark its blobs in steps. Without one, a change costs nothing."""

    def __init__(self) -> None:
        self._logs: list[dict[Change, None]] = []

    def note(self, change: Change) -> None:
        """Note a change, in the same step in which it is made."""
        for log in self._logs:
            log[change] = None

    @contextmanager
    def followed(self) -> Iterator[dict[Change, None]]:
        """Fill a log with the changes from now on. Its reader removes those that it has followed."""
        log: dict[Change, None] = {}
        self._logs = [*self._logs, log]
        try:
            yield log
        finally:
            self._logs = [each for each in self._logs if each is not log]
