"""The leases of a containerd, through its Leases service. Its garbage collector keeps the blobs and ingests that they protect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from anyio.lowlevel import checkpoint

from steelyard._collecting.labels import EXPIRE
from steelyard._runtime.fork import ProcessBound
from steelyard.containerd.remote._calls import GRACE, Limits, ask
from steelyard.containerd.remote._channel import Connection
from steelyard.containerd.remote._errors import About
from steelyard.containerd.remote._messages import method
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidDigest, LeaseEnded, LeaseExists, NotFound, SteelyardError
from steelyard.filters import lease_fields
from steelyard.filters._async import choose, compiled
from steelyard.leases import Leases, check_expires, check_lease, new_lease
from steelyard.model import Labels, Lease, LeaseResources
from steelyard.options import check_ref

__all__ = ("RemoteLeases", "check_header", "check_id")

_HEADER = re.compile(r"[!-~]{1,1024}", re.ASCII)

_BLOB, _INGEST = "content", "ingests"


def check_id(lease: str) -> str:
    """Return the ID of a lease, if it is valid and a header can have it: it is a header of each call under the lease."""
    check_header(check_lease(lease))
    return lease


def check_header(lease: str | None) -> str | None:
    """Return the ID of a lease, or None, if a header can have it.

    Raises:
        InvalidArgument: a header cannot have it.
    """
    if lease is not None and not _HEADER.fullmatch(lease):
        raise InvalidArgument(f"lease {lease[:100]!r}: expected printable ASCII without spaces")
    return lease


class RemoteLeases(ProcessBound, Leases):
    """Leases behind a server. A server without leases answers each call with Unsupported.

    The service changes one resource at a time, so `add` and `remove` are not transactions. Resources that are neither blobs nor ingests, such
    as snapshots, are not listed and not changed. The label ``containerd.io/gc.expire`` of a lease is the time at which it ends. containerd ends
    it at the next garbage collection after that time.
    """

    collects = True

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection, self._limits = connection, limits

    async def create(
        self, lease: str | None = None, *, expires: timedelta, labels: Mapping[str, str] | None = None
    ) -> Lease:
        """Create a lease; see `Leases.create`."""
        name, given = new_lease() if lease is None else check_id(lease), dict(Labels(labels))
        end = datetime.now(UTC) + check_expires(expires)
        given[EXPIRE] = end.isoformat().replace("+00:00", "Z")
        try:
            return await self._create(name, given)
        except LeaseExists:
            if name in {lease.id for lease in await self._all()}:
                raise
            # A lease with this ID has expired, but containerd has not ended it yet.
            await self.end(name)
            return await self._create(name, given)

    async def get(self, lease: str) -> Lease:
        """Return the times and labels of a lease; see `Leases.get`."""
        check_id(lease)
        for found in await self._all():
            if found.id == lease:
                return found
        raise NotFound(lease, kind="lease")

    async def list(self, *filters: str) -> list[Lease]:
        """Return the matching leases; see `Leases.list`."""
        chosen = await compiled(filters)
        return await choose(chosen, sorted(await self._all(), key=lambda lease: lease.id), lease_fields)

    async def add(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Protect blobs and ingests by a lease, one after the other; see `Leases.add`."""
        await self._change("AddResource", lease, digests, refs)

    async def remove(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Stop protecting blobs and ingests by a lease, one after the other; see `Leases.remove`."""
        await self._change("DeleteResource", lease, digests, refs)

    async def resources(self, lease: str) -> LeaseResources:
        """Return the blobs and ingests that a lease protects; see `Leases.resources`."""
        await self.get(lease)
        blobs, refs = [], []
        for resource in await self._ask("ListResources", lease):
            if resource.type == _BLOB:
                with suppress(InvalidDigest):  # of an algorithm that this release does not know
                    blobs.append(Digest.parse(resource.id))
            elif resource.type == _INGEST:
                refs.append(resource.id)
        return LeaseResources(blobs=tuple(sorted(blobs)), refs=tuple(sorted(refs)))

    async def delete(self, lease: str, *, collect: bool = False) -> None:
        """End a lease; see `Leases.delete`.

        Args:
            lease: its ID.
            collect: make containerd collect its garbage before it answers.
        """
        await self.get(lease)
        await self._ask("Delete", lease, grace=GRACE, sync=collect)

    async def end(self, lease: str, *, collect: bool = False) -> None:
        """End a lease, and raise no error of the server: the lease expires by itself."""
        with suppress(SteelyardError):
            await self._ask("Delete", lease, grace=GRACE, sync=collect)

    async def enter(self, lease: str, digest: Digest) -> None:
        """Protect a blob for a caller that works under a lease.

        Raises:
            LeaseEnded: the lease does not exist.
        """
        try:
            await self._ask("AddResource", lease, grace=GRACE, resource={"id": str(digest), "type": _BLOB})
        except NotFound:
            raise LeaseEnded(lease, reason="deleted") from None

    async def _change(self, call: str, lease: str, digests: Iterable[Digest | str], refs: Iterable[str]) -> None:
        wanted = [{"id": str(Digest.parse(digest)), "type": _BLOB} for digest in digests]
        wanted += [{"id": check_ref(ref), "type": _INGEST} for ref in refs]
        await self.get(lease)
        for resource in wanted:
            await self._ask(call, lease, grace=GRACE, resource=resource)

    async def _create(self, name: str, labels: dict[str, str]) -> Lease:
        lease: Lease
        [lease] = await self._ask("Create", name, grace=GRACE, labels=labels)
        return lease

    async def _all(self) -> tuple[Lease, ...]:
        await checkpoint()
        leases: Sequence[Lease] = await self._ask("List", "")
        at = datetime.now(UTC)
        return tuple(lease for lease in leases if lease.expires_at is None or lease.expires_at > at)

    async def _ask(self, call: str, lease: str, *, grace: float = 0.0, **fields: Any) -> Sequence[Any]:
        called = method("Leases", call)
        request = fields if call == "List" else {**fields, "id": lease}
        about = About(kind="lease", name=lease, call=f"Leases.{call}")
        return await ask(self._connection, called, request, about, self._limits, grace=grace)
