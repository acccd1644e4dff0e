"""The records of uploads: the state that survives a kill of the server.

An upload is one ingest and one lease, both named ``<prefix>/<id>``. The random ID is the last part of the URL.

* **The lease** is the record. Its labels have the length and the metadata. It ends some time after the upload expires. It protects the ingest,
  and later the blob, from garbage collection.
* **The ingest** holds the bytes, from the creation of the upload to its commit.
* **Marks** hold the changing state: entries of the lease for refs that no ingest has. Adding or removing one is a durable transaction.

| Mark | Means |
| --- | --- |
| ``<ref>!length=N`` | the length of an upload that was created without one |
| ``<ref>!checked=N`` | only the first N bytes of the ingest count: the bytes after them are not compared with their checksum yet |
| ``<ref>!owed`` | the application must still be notified that the upload is complete |

The digest enters the lease before the commit. So an upload without an ingest is complete if its lease has the digest of a stored blob.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec

from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import NotFound, Unavailable
from steelyard.model import Descriptor, Info, Labels, Lease
from steelyard.web.uploads._fields import parse_metadata
from steelyard.web.uploads._refusal import Refusal
from steelyard.web.uploads._unfinished import Unfinished

__all__ = ("METADATA_BYTES", "Record", "Records", "Upload")

METADATA_BYTES = 4000
"""The longest Upload-Metadata field. A label holds it."""

_LABEL = "steelyard.web/uploads"
_LENGTH = "steelyard.web/length"
_METADATA = "steelyard.web/metadata"
_EXPIRES = "steelyard.web/expires"
_ID = re.compile(r"[A-Za-z0-9_-]{22}")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload, for the application.

    Attributes:
        id: the last part of its URL.
        size: its length in bytes, or None until the client gives it.
        metadata: the pairs that the client gave at the creation, for example ``filename``. The client chooses them: do not trust them.
        created_at: the time of its creation (UTC).
        expires_at: the time at which it expires if it is not complete (UTC).
        digest: the digest of its blob, or None while it is not complete.
    """

    id: str
    size: int | None
    metadata: Labels
    created_at: datetime
    expires_at: datetime
    digest: Digest | None = None

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of the blob of a complete upload, for example for an image name. Raises ValueError before."""
        if self.digest is None:
            raise ValueError(f"upload {self.id}: it is not complete")
        return Descriptor(digest=self.digest, size=self.size)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an upload in the store.

    Attributes:
        id: the ID.
        ref: the ref of its ingest, and the ID of its lease.
        lease: the lease.
        length: the length, or None if it is not known yet.
        is_owed: whether the application is to be notified.
        info: the info of the blob of a complete upload.
    """

    id: str
    ref: str
    lease: Lease
    length: int | None = None
    is_owed: bool = False
    info: Info | None = None

    @property
    def metadata(self) -> str:
        """The field Upload-Metadata, as the client sent it."""
        return self.lease.labels.get(_METADATA, "")

    @property
    def expires_at(self) -> datetime:
        """The time at which it expires if it is not complete."""
        return datetime.fromisoformat(self.lease.labels[_EXPIRES])

    @property
    def is_expired(self) -> bool:
        """Whether it has expired before it was complete."""
        return self.info is None and datetime.now(UTC) >= self.expires_at

    def upload(self, info: Info | None = None) -> Upload:
        """Return the upload for the application."""
        found = info or self.info
        return Upload(
            id=self.id,
            size=self.length if found is None else found.size,
            metadata=Labels(parse_metadata(self.metadata)),
            created_at=self.lease.created_at,
            expires_at=self.expires_at,
            digest=None if found is None else found.digest,
        )


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a record that changes.

    Attributes:
        length: the length of an upload that was created without one, or None.
        checked: the number of bytes that count, or None if all count.
        is_owed: whether the application is to be notified.
        digests: the digest of a commit.
    """

    length: int | None
    checked: int | None
    is_owed: bool
    digests: tuple[Digest, ...]


class Records:
    """The uploads of one prefix in a store.

    Args:
        store: the store, which must have leases.
        prefix: the first part of refs and IDs of leases.
        expires: how long an upload may take.
        keep: how long the record of a complete upload is kept at least.
        most: the most unfinished uploads, or None.

    Attributes:
        store: the store.
        unfinished: counts the unfinished uploads.
    """

    def __init__(self, store: Store, prefix: str, expires: timedelta, keep: timedelta, most: int | None) -> None:
        self.store = store
        self.unfinished = Unfinished(self.refs, most)
        self._leases = store.leases
        self._prefix = prefix
        self._expires = expires
        self._keep = keep

    def new_ref(self) -> str:
        """Return the ref of a new upload."""
        return f"{self._prefix}/{secrets.token_urlsafe(16)}"

    async def create(self, ref: str, length: int | None, metadata: str) -> Record:
        """Create the lease of a new upload, durably."""
        labels = {_LABEL: self._prefix, _EXPIRES: (datetime.now(UTC) + self._expires).isoformat()}
        if length is not None:
            labels[_LENGTH] = str(length)
        if metadata:
            labels[_METADATA] = metadata
        lease = await self._leases.create(ref, expires=self._expires + self._keep, labels=labels)
        return Record(id=ref.rpartition("/")[2], ref=ref, lease=lease, length=length)

    async def load(self, upload: str) -> Record:
        """Return an upload.

        Raises:
            Refusal: 404 if there is no such upload, 410 if it has expired or was discarded.
        """
        ref = f"{self._prefix}/{upload}"
        if not _ID.fullmatch(upload):
            raise Refusal(404, "there is no such upload")
        lease = await self._leases.get(ref)
        if lease.labels.get(_LABEL) != self._prefix:
            raise Refusal(404, "there is no such upload")
        record = await self.refresh(Record(id=upload, ref=ref, lease=lease))
        if record.is_expired:
            raise Refusal(410, "the upload has expired")
        return record

    async def refresh(self, record: Record) -> Record:
        """Return an upload with its length, and the info of its blob if it is complete."""
        # Look at the ingest first: a commit in between has entered the digest into the lease, which is read afterwards.
        has_ingest = await self._has_ingest(record.ref)
        marks = await self.marks(record)
        info = None
        if not has_ingest:
            infos = await self.store.infos(marks.digests)
            info = next(iter(infos.values()), None)
            if info is None:
                raise Refusal(410, "the upload was discarded")
        length = record.lease.labels.get(_LENGTH)
        return msgspec.structs.replace(
            record, length=marks.length if length is None else int(length), is_owed=marks.is_owed, info=info
        )

    async def marks(self, record: Record) -> Marks:
        """Return the marks of an upload."""
        found = await self._leases.resources(record.ref)
        start = f"{record.ref}!"
        marks = dict(ref[len(start) :].partition("=")[::2] for ref in found.refs if ref.startswith(start))
        return Marks(
            length=int(marks["length"]) if "length" in marks else None,
            checked=int(marks["checked"]) if "checked" in marks else None,
            is_owed="owed" in marks,
            digests=found.blobs,
        )

    async def _has_ingest(self, ref: str) -> bool:
        try:
            await self.store.status(ref)
        except NotFound:
            return False
        return True

    async def mark(self, record: Record, marks: Iterable[str], digests: Iterable[Digest] = ()) -> None:
        """Enter marks, and the digest for a commit, durably."""
        await self._leases.add(record.ref, refs=[f"{record.ref}!{mark}" for mark in marks], digests=digests)

    async def unmark(self, record: Record, mark: str) -> None:
        """Remove a mark, durably."""
        await self._leases.remove(record.ref, refs=[f"{record.ref}!{mark}"])

    async def remove(self, record: Record) -> None:
        """Discard an upload: its record, and its bytes if it is not complete. A blob is left to the garbage collection.

        Raises:
            Unavailable: a writer in another process holds the ref.
        """
        with suppress(NotFound):
            await self.store.abort(record.ref)
        self.unfinished.end(record.ref)
        await self._leases.delete(record.ref)

    async def all(self) -> list[Record]:
        """Return all uploads, without their marks."""
        leases = await self._leases.list(f'labels."{_LABEL}"=={self._prefix}')
        return [Record(id=lease.id.rpartition("/")[2], ref=lease.id, lease=lease) for lease in leases]

    async def refs(self) -> list[str]:
        """Return the refs of the ingests of uploads."""
        start = f"{self._prefix}/"
        refs = (status.ref for status in await self.store.list_statuses())
        return [ref for ref in refs if ref.startswith(start) and _ID.fullmatch(ref[len(start) :])]

    async def discard_expired(self) -> int:
        """Discard the ingests of uploads that have expired or have no record any more. Return their number.

        An ingest to which a request is writing is left to a later call.
        """
        refs = await self.refs()  # before the leases: each ingest is created after its lease
        live = {record.ref for record in await self.all() if not record.is_expired} if refs else set()
        return sum([await self._discard(ref) for ref in refs if ref not in live])

    async def _discard(self, ref: str) -> bool:
        try:
            # Open the writer first: an abort alone would discard an ingest to which this process is writing.
            await (await self.store.writer(ref)).aclose()
            await self.store.abort(ref)
        except (Unavailable, NotFound):
            return False
        self.unfinished.end(ref)
        with suppress(NotFound):
            await self._leases.delete(ref)
        return True
