"""The leases, in the store's SQLite file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from steelyard import _native, filters
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.leases import check_expires, check_lease, new_lease
from steelyard.local.blocking._rows import to_labels, to_time
from steelyard.model import Labels, Lease, LeaseResources
from steelyard.options import check_ref

__all__ = ("BlockingLeases",)

_Row = tuple[str, int, int | None, int | None, dict[str, str]]


class BlockingLeases(ProcessBound):
    """The leases; see `Leases`. Each call is one transaction."""

    def __init__(self, native: _native.Leases) -> None:
        self._native = native

    def create(self, lease: str | None = None, *, expires: timedelta, labels: Mapping[str, str] | None = None) -> Lease:
        """Create a lease that outlives this process; see `Leases.create`."""
        name = new_lease() if lease is None else check_lease(lease)
        return _to_lease(self._native.create(name, labels=dict(Labels(labels)), expires=_ns(check_expires(expires))))

    def begin(self, lease: str, *, labels: Mapping[str, str] | None = None, expires: timedelta | None = None) -> Lease:
        """Create a lease that ends with this process, with the store, by `end`, or after a time."""
        time = None if expires is None else _ns(check_expires(expires))
        return _to_lease(self._native.begin(check_lease(lease), labels=dict(Labels(labels)), expires=time))

    def end(self, lease: str) -> None:
        """End a lease of `begin`. It raises nothing: closing the store has already ended its leases."""
        self._native.end(lease)

    def get(self, lease: str) -> Lease:
        """Return times and labels of a lease; see `Leases.get`."""
        return _to_lease(self._native.get(check_lease(lease)))

    def list(self, *filters_: str) -> list[Lease]:
        """Return the matching leases; see `Leases.list`."""
        return [_to_lease(row) for row in self._native.list(filters.compile(*filters_).native)]

    def add(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Have a lease protect blobs and ingests; see `Leases.add`."""
        self._native.add(check_lease(lease), digests=_texts(digests), refs=[check_ref(ref) for ref in refs])

    def remove(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Have a lease no longer protect blobs and ingests; see `Leases.remove`."""
        self._native.remove(check_lease(lease), digests=_texts(digests), refs=[check_ref(ref) for ref in refs])

    def resources(self, lease: str) -> LeaseResources:
        """Return what a lease protects; see `Leases.resources`."""
        digests, refs = self._native.resources(check_lease(lease))
        return LeaseResources(blobs=tuple(sorted(map(Digest.parse, digests))), refs=tuple(sorted(refs)))

    def delete(self, lease: str) -> None:
        """End a lease; see `Leases.delete`."""
        self._native.delete(check_lease(lease))


def _to_lease(row: _Row) -> Lease:
    lease, created, expires, process, labels = row
    return Lease(
        id=lease,
        created_at=to_time(created),
        expires_at=None if expires is None else to_time(expires),
        process=process,
        labels=to_labels(labels),
    )


def _ns(time: timedelta) -> int:
    return time // timedelta(microseconds=1) * 1000


def _texts(digests: Iterable[Digest | str]) -> list[str]:
    return [str(Digest.parse(digest)) for digest in digests]
