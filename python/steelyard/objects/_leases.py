"""Leases in a bucket: each is a record, and each blob and ingest that it protects is an object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from steelyard._collecting.marks import now_at_least
from steelyard._runtime.concurrent import map_concurrently
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.errors import LeaseEnded, LeaseExists, NotFound
from steelyard.events import EventSource
from steelyard.filters import lease_fields
from steelyard.filters._async import choose, compiled
from steelyard.leases import Leases, check_expires, check_lease, new_lease
from steelyard.model import Labels, Lease, LeaseResources
from steelyard.objects._decoding import decoded
from steelyard.objects._layout import LEASED, LEASES, digest_named, hashed, label_name
from steelyard.objects._records import Record, Records
from steelyard.objects._requests import Missing, Object, Requests
from steelyard.objects._shared import Shared
from steelyard.objects._values import LeaseValue, to_time
from steelyard.objects._watch import Note, Watch
from steelyard.options import check_ref

__all__ = ("DEFAULT_EXPIRES", "HeldLease", "ObjectLeases")

DEFAULT_EXPIRES = timedelta(days=1)
"""The default time of a lease of `Store.lease`. Object storage does not notice when a process ends."""

SKEW = timedelta(minutes=1)
"""How long a collection keeps a lease that has expired by the collector's clock: the holder's clock may be behind."""

_AT_ONCE = 32

_HASHED = len(hashed(""))

_FORGOTTEN = timedelta(days=1)
"""The age after which the objects of a deleted lease are removed: by then no stale change of it can be accepted."""


class HeldLease:
    """A lease as a collection sees it.

    Attributes:
        value: the lease.
        digests: the blobs that it protects.
        refs: the ingests that it protects.
    """

    def __init__(self, value: Lease) -> None:
        self.value = value
        self.digests: set[Digest] = set()
        self.refs: set[str] = set()


class ObjectLeases(ProcessBound, Leases):
    """The leases of a store in a bucket.

    A lease does not end with its process. A lease of `Store.lease` ends after a day at the latest, unless the caller gives another time.

    Args:
        requests: the server.
        watch: looks at collections.
        events: publishes the events of the leases.
    """

    def __init__(self, requests: Requests, watch: Watch, events: EventSource) -> None:
        self._requests = requests
        self._records: Records[LeaseValue] = Records(requests, LEASES, LeaseValue)
        self._watch = watch
        self._events = events
        self._held: dict[str, _Held] = {}

    async def create(
        self, lease: str | None = None, *, expires: timedelta, labels: Mapping[str, str] | None = None
    ) -> Lease:
        """Create a lease; see `Leases.create`."""
        name = new_lease() if lease is None else check_lease(lease)
        return await self.begin(name, Labels(labels), check_expires(expires))

    async def begin(self, lease: str, labels: Labels, expires: timedelta) -> Lease:
        """Create a lease from checked arguments; raises `LeaseExists`."""
        value = LeaseValue(
            id=lease,
            token=uuid4().hex,
            created_at=datetime.now(UTC),
            expires=expires.total_seconds(),
            labels=dict(labels),
        )

        def edit(old: Record[LeaseValue] | None) -> LeaseValue:
            if _lasting(old) is not None:
                raise LeaseExists(lease)
            return value

        await self._records.change(hashed(lease), edit)
        self._events.publish("lease_begun", lease=lease, labels=labels)
        return value.lease()

    async def get(self, lease: str) -> Lease:
        """Return the times and labels of a lease; see `Leases.get`."""
        return (await self._value(lease)).lease()

    async def list(self, *filters: str) -> list[Lease]:
        """Return the matching leases; see `Leases.list`. Each takes a request."""
        chosen = await compiled(filters)
        values = [_lasting(record) for record in (await self._records.all()).values()]
        found = sorted((value.lease() for value in values if value is not None), key=lambda lease: lease.id)
        return await choose(chosen, found, lease_fields)

    async def add(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Protect blobs and ingests by a lease; see `Leases.add`. Each takes a request."""
        blobs, names = set(map(Digest.parse, digests)), set(map(check_ref, refs))
        await self._value(lease)
        since = await self._watch.begin()
        try:
            await self.enter(lease, digests=blobs, refs=names)
        except LeaseEnded:
            raise NotFound(lease, kind="lease") from None
        notes = [Note(kind="root", digest=str(digest)) for digest in sorted(blobs)]
        await self._watch.settle(since, notes, is_wide=True)

    async def remove(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Stop protecting blobs and ingests by a lease; see `Leases.remove`. Each takes a request."""
        blobs, names = set(map(Digest.parse, digests)), set(map(check_ref, refs))
        token = (await self._value(lease)).token
        await self._delete(_blob_keys(token, blobs) + [key for key, _ in _ref_entries(token, names)])

    async def resources(self, lease: str) -> LeaseResources:
        """Return the blobs and ingests that a lease protects; see `Leases.resources`."""
        value = await self._value(lease)
        held = HeldLease(value.lease())
        await self._fill(held, await self._requests.every(f"{LEASED}{value.token}/"))
        return LeaseResources(blobs=tuple(sorted(held.digests)), refs=tuple(sorted(held.refs)))

    async def delete(self, lease: str) -> None:
        """End a lease; see `Leases.delete`."""
        token = ""

        def edit(old: Record[LeaseValue] | None) -> None:
            nonlocal token
            value = _lasting(old)
            if value is None:
                raise NotFound(lease, kind="lease")
            token = value.token

        await self._records.change(hashed(check_lease(lease)), edit)
        self._held.pop(lease, None)
        self._events.publish("lease_ended", lease=lease)
        await self._empty(token)

    # For the store

    async def end(self, lease: str) -> None:
        """End a lease whose ID no other client knows, and remove all its objects."""
        record = await self._records.read(hashed(lease))
        if record is None:
            # CANCEL: its creation may still be on its way. It would create the version that is created here, so it fails.
            await self._records.change(hashed(lease), lambda _: None)
            return
        held = _lasting(record)
        await self._records.erase(hashed(lease))
        self._held.pop(lease, None)
        if held is not None:
            self._events.publish("lease_ended", lease=lease)
            await self._empty(held.token)

    async def enter(self, lease: str, *, digests: Iterable[Digest] = (), refs: Iterable[str] = ()) -> None:
        """Protect blobs and ingests for a caller that works under a lease. Each takes a request, and tasks share one further request.

        Raises:
            LeaseEnded: the lease has expired or was deleted.
        """
        blobs, names = tuple(digests), tuple(refs)
        while True:
            held = self._held.get(lease) or await self._hold(lease)
            token = held.value.token
            entries = [(key, b"") for key in _blob_keys(token, blobs)] + _ref_entries(token, names)
            await map_concurrently(entries, self._enter, concurrency=_AT_ONCE)
            # The look comes after the entries: if the lease still lasts then, it protects them.
            if _has_expired(held.value):
                await self._delete(key for key, _ in entries)
                raise LeaseEnded(lease, reason="expired")
            if await held.lasts():
                return
            self._held.pop(lease, None)
            await self._delete(key for key, _ in entries)

    async def _hold(self, lease: str) -> _Held:
        record = await self._records.read(hashed(lease))
        if record is None or record.value is None:
            raise LeaseEnded(lease, reason="deleted")
        self._held[lease] = _Held(self._records, record, record.value)
        return self._held[lease]

    async def leave(self, lease: str, *, digests: Iterable[Digest] = (), refs: Iterable[str] = ()) -> None:
        """Stop protecting blobs and ingests that are gone, if the lease still exists."""
        with suppress(LeaseEnded):
            token = (self._held.get(lease) or await self._hold(lease)).value.token
            await self._delete(_blob_keys(token, digests) + [key for key, _ in _ref_entries(token, refs)])

    # For a collection

    async def lasting(self, server_ns: int) -> Sequence[HeldLease]:
        """Return the leases that have not ended, with their blobs and ingests. Both this machine's and the server's clock must show the end."""
        entries: dict[str, list[Object]] = {}
        pages = self._requests.pages(LEASED)
        while objects := await pages.next():
            for each in objects:
                entries.setdefault(_token(each.key), []).append(each)
        found = []
        # The leases are read after their entries. Writers note later entries for the collection.
        for record in (await self._records.all()).values():
            if record.value is not None and not _is_over(record.value, server_ns):
                held = HeldLease(record.value.lease())
                await self._fill(held, entries.get(record.value.token, ()))
                found.append(held)
        return found

    async def clean(self, server_ns: int) -> None:
        """Remove the objects of leases that have ended, including entries that callers made without knowing of the end."""
        forgotten = to_time(server_ns) - _FORGOTTEN
        old = [each.key for each in await self._requests.every(LEASED) if to_time(each.modified_ns) <= forgotten]
        # The leases are read after their entries, so a lease that was created meanwhile is among them.
        records = await self._records.all()
        tokens = {record.value.token for record in records.values() if record.value is not None}
        await self._delete(key for key in old if _token(key) not in tokens)
        for name, record in records.items():
            value = record.value
            if value is not None and _is_over(value, server_ns):
                await self._records.change(name, lambda old, value=value: _removed(old, value))  # type: ignore[misc]
                await self._empty(value.token)
                self._events.publish("lease_ended", lease=value.id)
            elif value is None and to_time(record.modified_ns) <= forgotten:
                await self._records.erase(name)

    async def _fill(self, held: HeldLease, objects: Iterable[Object]) -> None:
        refs = []
        for each in objects:
            kind, _, name = each.key.removeprefix(LEASED).partition("/")[2].partition("/")
            if kind == "refs" and len(name) == _HASHED:  # other names are of other programs
                refs.append(each.key)
            elif (digest := digest_named(name)) is not None:
                held.digests.add(digest)

        async def read(key: str) -> None:
            with suppress(Missing):
                _, data = await self._requests.get(key)
                held.refs.add(decoded(bytes.decode, data, key=key, expected="the ref of an ingest"))

        await map_concurrently(refs, read, concurrency=_AT_ONCE)

    async def _value(self, lease: str) -> LeaseValue:
        value = _lasting(await self._records.read(hashed(check_lease(lease))))
        if value is None:
            raise NotFound(lease, kind="lease")
        return value

    async def _enter(self, entry: tuple[str, bytes]) -> None:
        key, content = entry
        await self._requests.put(key, content, create=False)

    async def _empty(self, token: str) -> None:
        await self._delete([each.key for each in await self._requests.every(f"{LEASED}{token}/")])

    async def _delete(self, keys: Iterable[str]) -> None:
        await map_concurrently(keys, self._requests.delete, concurrency=_AT_ONCE)


class _Held:
    """A lease under which a caller works.

    Attributes:
        value: the lease.
        lasts: returns whether no other client has changed it. Tasks share the request.
    """

    def __init__(self, records: Records[LeaseValue], record: Record[LeaseValue], value: LeaseValue) -> None:
        self.value = value
        self.lasts: Shared[bool] = Shared(lambda: records.is_newest(record))


def _lasting(record: Record[LeaseValue] | None) -> LeaseValue | None:
    """Return the value of a lease, or None if it has ended."""
    if record is None or record.value is None or _has_expired(record.value):
        return None
    return record.value


def _removed(old: Record[LeaseValue] | None, value: LeaseValue) -> LeaseValue | None:
    """Return None to remove a lease that has ended, or the old value if the lease was created again."""
    return old.value if old is not None and old.value != value else None


def _has_expired(value: LeaseValue) -> bool:
    return value.created_at + timedelta(seconds=value.expires) <= now_at_least()


def _is_over(value: LeaseValue, server_ns: int) -> bool:
    return value.created_at + timedelta(seconds=value.expires) + SKEW <= min(now_at_least(), to_time(server_ns))


def _token(key: str) -> str:
    return key.removeprefix(LEASED).partition("/")[0]


def _blob_keys(token: str, digests: Iterable[Digest]) -> list[str]:
    return [f"{LEASED}{token}/blobs/{label_name(digest)}" for digest in digests]


def _ref_entries(token: str, refs: Iterable[str]) -> list[tuple[str, bytes]]:
    return [(f"{LEASED}{token}/refs/{hashed(ref)}", ref.encode()) for ref in refs]
