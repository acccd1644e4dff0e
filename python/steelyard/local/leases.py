"""The leases of a `LocalStore`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial

from steelyard._runtime.calls import run
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.leases import Leases
from steelyard.local.blocking import BlockingLeases
from steelyard.model import Labels, Lease, LeaseResources

__all__ = ("LocalLeases",)


class LocalLeases(ProcessBound, Leases):
    """The leases of a `LocalStore`: the calls of `BlockingLeases`, one hop each. Several processes may use them."""

    def __init__(self, leases: Callable[[], BlockingLeases]) -> None:
        self._leases = leases

    async def create(
        self, lease: str | None = None, *, expires: timedelta, labels: Mapping[str, str] | None = None
    ) -> Lease:
        """Create a lease; see `Leases.create`."""
        return await run(partial(self._leases().create, lease, expires=expires, labels=Labels(labels)))

    async def get(self, lease: str) -> Lease:
        """Return times and labels of a lease; see `Leases.get`."""
        return await run(self._leases().get, lease)

    async def list(self, *filters: str) -> list[Lease]:
        """Return the matching leases; see `Leases.list`."""
        return await run(partial(self._leases().list, *filters))

    async def add(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Have a lease protect blobs and ingests; see `Leases.add`."""
        await run(partial(self._leases().add, lease, digests=tuple(digests), refs=tuple(refs)))

    async def remove(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Have a lease no longer protect blobs and ingests; see `Leases.remove`."""
        await run(partial(self._leases().remove, lease, digests=tuple(digests), refs=tuple(refs)))

    async def resources(self, lease: str) -> LeaseResources:
        """Return what a lease protects; see `Leases.resources`."""
        return await run(self._leases().resources, lease)

    async def delete(self, lease: str) -> None:
        """End a lease; see `Leases.delete`."""
        await run(self._leases().delete, lease)
