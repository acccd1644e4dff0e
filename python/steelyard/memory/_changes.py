"""Logs of the changes that are made while tasks mark blobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from steelyard.digest import Digest

__all__ = ("Change", "Changes")


class Change(NamedTuple):
    """A change after which a root may keep a blob. The marking task looks up the current state, which may have changed again.

    Attributes:
        kind: a name was set, a lease protects a blob, an ingest expects a blob, labels were set, or a blob was stored or found.
        key: the name, the ID of the lease, or the ref; empty for a blob.
        digest: the blob, if it is known.
    """

    kind: Literal["name", "lease", "ingest", "labels", "stored"]
    key: str = ""
    digest: Digest | None = None


class Changes:
    """Passes the changes of a store to the tasks that mark its blobs in steps. Without such a task, `note` does nothing."""

    def __init__(self) -> None:
        self._logs: list[dict[Change, None]] = []

    def note(self, change: Change) -> None:
        """Record a change. The caller must not wait between the change and this call."""
        for log in self._logs:
            log[change] = None

    @contextmanager
    def followed(self) -> Iterator[dict[Change, None]]:
        """Fill a log with the changes until the context ends. The reader of the log removes the changes that it has applied."""
        log: dict[Change, None] = {}
        self._logs = [*self._logs, log]
        try:
            yield log
        finally:
            self._logs = [each for each in self._logs if each is not log]
