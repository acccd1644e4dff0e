"""The number of unfinished uploads, for its limit."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable

__all__ = ("Unfinished",)

_SECONDS = 1.0
"""How long a list of all ingests is used. Listing them for each creation would take time that grows with their number."""


class Unfinished:
    """The refs of the unfinished uploads of a prefix. Those of this process are exact, and those of others up to a second old.

    Args:
        listed: returns the refs of the ingests of all uploads.
        most: the limit, or None.
    """

    def __init__(self, listed: Callable[[], Awaitable[Iterable[str]]], most: int | None) -> None:
        self._listed = listed
        self._most = most
        self._refs: set[str] = set()
        self._entered: set[str] = set()
        self._recent: set[str] = set()
        self._next_list = 0.0

    async def enter(self, ref: str) -> bool:
        """Count a new upload, which has no ingest yet. Return False if there are too many."""
        if self._most is None:
            return True
        if time.monotonic() >= self._next_list:
            self._next_list = time.monotonic() + _SECONDS
            # The list may lack uploads that have no ingest yet, and uploads that are entered during the listing.
            self._recent = set(self._entered)
            self._refs = {*await self._listed(), *self._recent}
        if len(self._refs) >= self._most:
            return False
        for refs in (self._refs, self._entered, self._recent):
            refs.add(ref)
        return True

    def begun(self, ref: str) -> None:
        """Note that an entered upload has its ingest now, or will never have one. The next list shows which."""
        self._entered.discard(ref)

    def end(self, ref: str) -> None:
        """Note that an upload is complete, or discarded."""
        self._refs.discard(ref)
        self._recent.discard(ref)
