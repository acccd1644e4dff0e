"""Leases in memory."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from anyio.lowlevel import checkpoint

from steelyard.digest import Digest
from steelyard.errors import LeaseEnded, LeaseExists, NotFound
from steelyard.events import EventSource
from steelyard.filters import lease_fields
from steelyard.filters._async import choose, compiled
from steelyard.leases import Leases, check_expires, check_lease, new_lease
from steelyard.memory._changes import Change, Changes
from steelyard.memory._ingest import now
from steelyard.model import Labels, Lease, LeaseResources
from steelyard.options import check_ref

__all__ = ("MemoryLeases",)


class _Entry:
    """A lease with its resources."""

    def __init__(self, lease: str, labels: Labels, expires: timedelta | None, process: int | None) -> None:
        created_at = now()
        expires_at = None if expires is None else created_at + expires
        self.value = Lease(id=lease, created_at=created_at, expires_at=expires_at, process=process, labels=labels)
        self.digests: set[Digest] = set()
        self.refs: set[str] = set()
        self._deadline = None if expires is None else time.monotonic() + expires.total_seconds()

    def has_expired(self, at: datetime) -> bool:
        """Return whether the lease has expired by both clocks, so that setting the wall clock ahead does not end it."""
        if self.value.expires_at is None or self._deadline is None:
            return False
        return self.value.expires_at <= at and self._deadline <= time.monotonic()


class MemoryLeases(Leases):
    """Leases in memory. A store of your own can use them, too, if its leases need not outlive the program.

    Args:
        events: publishes the events of the leases.
        changes: passes newly protected blobs and ingests to running collections.
    """

    def __init__(self, events: EventSource | None = None, changes: Changes | None = None) -> None:
        self._changes = Changes() if changes is None else changes
        self._entries: dict[str, _Entry] = {}
        self._events = EventSource() if events is None else events

    async def create(
        self, lease: str | None = None, *, expires: timedelta, labels: Mapping[str, str] | None = None
    ) -> Lease:
        """Create a lease; see `Leases.create`."""
        await checkpoint()
        name = new_lease() if lease is None else check_lease(lease)
        return self.begin(name, Labels(labels), check_expires(expires))

    async def get(self, lease: str) -> Lease:
        """Return a lease with its times and labels; see `Leases.get`."""
        await checkpoint()
        return self._entry(lease).value

    async def list(self, *filters: str) -> list[Lease]:
        """Return the matching leases; see `Leases.list`."""
        chosen = await compiled(filters)
        at = now()
        unexpired = [entry.value for _, entry in sorted(self._entries.items()) if not entry.has_expired(at)]
        return await choose(chosen, unexpired, lease_fields)

    async def add(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Add blobs and ingests to a lease; see `Leases.add`."""
        await checkpoint()
        blobs, names = set(map(Digest.parse, digests)), set(map(check_ref, refs))
        self._protect(self._entry(lease), blobs, names)

    async def remove(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Remove blobs and ingests from a lease; see `Leases.remove`."""
        await checkpoint()
        blobs, names = set(map(Digest.parse, digests)), set(map(check_ref, refs))
        entry = self._entry(lease)
        entry.digests -= blobs
        entry.refs -= names

    async def resources(self, lease: str) -> LeaseResources:
        """Return the blobs and ingests that a lease protects; see `Leases.resources`."""
        await checkpoint()
        entry = self._entry(lease)
        return LeaseResources(blobs=tuple(sorted(entry.digests)), refs=tuple(sorted(entry.refs)))

    async def delete(self, lease: str) -> None:
        """End a lease; see `Leases.delete`."""
        await checkpoint()
        self.end(self._entry(lease).value.id)

    # Methods for the store

    def begin(self, lease: str, labels: Labels, expires: timedelta | None, *, process: int | None = None) -> Lease:
        """Create a lease.

        Raises:
            LeaseExists: a lease with that ID exists.
        """
        held = self._entries.get(lease)
        if held is not None and not held.has_expired(now()):
            raise LeaseExists(lease)
        self.end_expired()
        entry = self._entries[lease] = _Entry(lease, labels, expires, process)
        self._events.publish("lease_begun", lease=lease, labels=labels)
        return entry.value

    def end(self, lease: str) -> None:
        """End a lease, if it exists."""
        if self._entries.pop(lease, None) is not None:
            self._events.publish("lease_ended", lease=lease)

    def end_expired(self) -> None:
        """Remove the expired leases, and publish an event for each. An expired lease protects nothing even before it is removed."""
        at = now()
        for lease in [lease for lease, entry in self._entries.items() if entry.has_expired(at)]:
            self.end(lease)

    def enter(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Add blobs and ingests to a lease, for a caller that works under it.

        Raises:
            LeaseEnded: the lease has expired or was deleted.
        """
        entry = self._entries.get(lease)
        if entry is None:
            raise LeaseEnded(lease, reason="deleted")
        if entry.has_expired(now()):
            raise LeaseEnded(lease, reason="expired")
        self._protect(entry, list(map(Digest.parse, digests)), list(refs))

    def _protect(self, entry: _Entry, digests: Collection[Digest], refs: Collection[str]) -> None:
        entry.digests.update(digests)
        entry.refs.update(refs)
        for digest in digests:
            self._changes.note(Change("lease", entry.value.id, digest))
        for ref in refs:
            self._changes.note(Change("ingest", ref))

    def leave(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Remove deleted blobs and ended ingests from a lease, if it exists."""
        entry = self._entries.get(lease)
        if entry is not None:
            entry.digests.difference_update(map(Digest.parse, digests))
            entry.refs.difference_update(refs)

    def count(self) -> int:
        """Return the number of leases, including expired ones."""
        return len(self._entries)

    def ids(self) -> Sequence[str]:
        """Return a copy of the IDs of all leases, in any order."""
        return tuple(self._entries)

    def find(self, lease: str) -> tuple[Lease, AbstractSet[Digest]] | None:
        """Return a lease and the set of blobs that it protects (not a copy), or None if it does not exist or has expired."""
        entry = self._entries.get(lease)
        if entry is None or entry.has_expired(now()):
            return None
        return entry.value, entry.digests

    def has_ingest(self, ref: str) -> bool:
        """Return whether an unexpired lease protects an ingest."""
        at = now()
        return any(ref in entry.refs and not entry.has_expired(at) for entry in self._entries.values())

    def _entry(self, lease: str) -> _Entry:
        entry = self._entries.get(check_lease(lease))
        if entry is None or entry.has_expired(now()):
            raise NotFound(lease, kind="lease")
        return entry
