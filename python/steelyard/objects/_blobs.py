"""The blobs of a store in a bucket, and their labels."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Literal, TypeVar

import msgspec

from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Digest
from steelyard.errors import NotFound
from steelyard.events import EventSource
from steelyard.filters import info_fields
from steelyard.filters._async import choose, compiled
from steelyard.model import NO_LABELS, Info, Labels
from steelyard.objects._cache import Cache
from steelyard.objects._layout import BLOBS, LABELS, blob_key, digest_at, label_name
from steelyard.objects._lookup import look_at_many
from steelyard.objects._notes import Notes
from steelyard.objects._records import KEEP, Keep, Record, Records
from steelyard.objects._requests import Missing, Object, Requests
from steelyard.objects._values import LabelValue, after, to_time
from steelyard.objects._watch import Note, Seen, Watch
from steelyard.options import changed_labels

__all__ = ("Blobs", "Stored")

_AT_ONCE = 32
"""The most blobs that are looked up at the same time."""

_ANNOUNCED_SECONDS = 3600
"""Labels that were written for a blob before it was created count for an object that is created within this time."""

_PREFIX = "containerd.io/gc."
"""The prefix of the labels that a collection follows."""

LabelRecord = Record[LabelValue]


class Stored:
    """A blob that a client has just stored or found.

    Attributes:
        digest: the blob.
        is_found: whether it was there already.
        labels: the labels that were set for it.
    """

    def __init__(self, digest: Digest, *, is_found: bool = False, labels: Labels = NO_LABELS) -> None:
        self.digest, self.is_found, self.labels = digest, is_found, labels

    async def again(self) -> None:
        """Record its references and its labels again: a collection that removed an older blob at its key may have removed them, too."""


StoredT = TypeVar("StoredT", bound=Stored)


class Blobs:
    """The blobs below one prefix.

    The labels of a blob are a separate record. For a new blob they are written before the object (`announce`), so the blob is never visible
    without them, and again after it, bound to that object. So labels that an interrupted `put` or `delete` leaves never apply to a later blob.

    Each call that stores or finds a blob checks afterwards whether a collection could have removed it. If so, it starts again.

    Args:
        requests: the server.
        watch: looks at collections.
        events: publishes the events of the blobs.
        cache: the cache, from which deleted blobs are removed, too.
    """

    def __init__(self, requests: Requests, watch: Watch, events: EventSource, cache: Cache | None = None) -> None:
        self._requests = requests
        self._cache = cache
        self._watch = watch
        self._events = events
        self._notes = Notes(requests)
        self._labels: Records[LabelValue] = Records(requests, LABELS, LabelValue)

    async def look(self, digest: Digest) -> Object:
        """Return the object of a blob.

        Raises:
            NotFound: the blob is not stored.
        """
        try:
            return await self._requests.head(blob_key(digest))
        except Missing:
            raise NotFound(digest) from None

    async def has(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is stored and has the given size, if one is given."""
        try:
            found = await self.look(digest)
        except NotFound:
            return False
        return size is None or found.size == size

    async def info(self, digest: Digest) -> Info:
        """Return the info of a blob."""
        found = await self.look(digest)
        return _info(digest, found, await self._labels.read(label_name(digest)))

    async def infos(self, digests: Sequence[Digest]) -> dict[Digest, Info]:
        """Return the info of each stored blob."""

        async def listed(page: list[tuple[Digest, Object]]) -> list[Info]:
            names = [label_name(digest) for digest, _ in page]
            labels = await self._labels.between(names[0], names[-1], only=names) if names else {}
            return [_info(digest, each, labels.get(label_name(digest))) for digest, each in page]

        async def asked(digest: Digest) -> list[Info]:
            try:
                return [await self.info(digest)]
            except NotFound:
                return []

        looked = await look_at_many(self._requests, digests)
        found = await map_concurrently(looked.pages, listed, concurrency=_AT_ONCE)
        found += await map_concurrently(looked.left, asked, concurrency=_AT_ONCE)
        infos = {info.digest: info for some in found for info in some}
        return {digest: infos[digest] for digest in digests if digest in infos}

    async def update(self, info: Info, fieldpaths: tuple[str, ...]) -> Info:
        """Set the labels of a blob; see `Manager.update`."""
        found = await self.look(info.digest)

        def edit(old: LabelRecord | None) -> LabelValue:
            kept = _valid(found, old)
            labels = changed_labels(NO_LABELS if kept is None else Labels(kept.labels), info.labels, *fieldpaths)
            at = after(to_time(found.modified_ns) if kept is None else kept.at)
            return LabelValue(labels=dict(labels), at=at, blob=_identity(found))

        since = await self._watch.begin()
        record = await self._labels.change(label_name(info.digest), edit)
        await self._watch.settle(since, _label_notes(info.digest, info.labels), is_wide=True)
        if not await self.has(info.digest):
            raise NotFound(info.digest)  # it was deleted meanwhile
        changed = _info(info.digest, found, record)
        self._events.publish("labelled", digest=info.digest, size=found.size, labels=changed.labels)
        return changed

    async def walk(self, filters: tuple[str, ...], *, start: Digest | None = None) -> AsyncGenerator[Info, None]:
        """Yield the matching blobs in the order of their digests; see `Manager.walk`. With `start`, only those after it."""
        chosen = await compiled(filters)
        pages = self._requests.pages(BLOBS, after=None if start is None else blob_key(start))
        while objects := await pages.next():
            found = [(digest, each) for each in objects if (digest := digest_at(each.key)) is not None]
            if not found:
                continue
            labels = await self._labels.between(label_name(found[0][0]), label_name(found[-1][0]))
            infos = [_info(digest, each, labels.get(label_name(digest))) for digest, each in found]
            for info in await choose(chosen, infos, info_fields):
                yield info

    async def delete(self, digest: Digest) -> None:
        """Delete a blob and its labels."""
        found = await self.look(digest)
        record = await self._labels.read(label_name(digest))
        if record is not None and record.value is not None and record.value.blob is None:
            # Otherwise, if this call is interrupted before it removes the labels, a blob that is stored later would have them.
            await self._bind(digest, found)
        await self._requests.delete(blob_key(digest))
        if record is not None and record.value is not None:
            await self._labels.change(
                label_name(digest), lambda old: KEEP if old is None or old.value is None else None
            )
        if (await self._watch.begin()).number:
            await self._notes.remove(digest)

    async def forget_labels(self, digest: Digest, before_ns: int) -> None:
        """Remove the labels of a deleted blob, unless they are newer than a time of the server's clock."""

        def edit(old: LabelRecord | None) -> Keep | None:
            return KEEP if old is None or old.value is None or old.modified_ns > before_ns else None

        await self._labels.change(label_name(digest), edit)

    async def publish(
        self,
        digest: Digest,
        write: Callable[[], Awaitable[Info | None]],
        note_names: Callable[[], Awaitable[bool]],
    ) -> Info | None:
        """Store or find a blob, and wait until no collection can remove it.

        Args:
            digest: the blob.
            write: stores it; returns its info, or None if it is stored already.
            note_names: records its references; returns whether it has any.
        """
        new: Info | None = None
        while True:
            since = await self._watch.begin()
            is_document = await note_names()
            made = await write()
            new = new or made
            if not await self.settle(since, [_Written(self, digest, made, note_names)], is_wide=is_document):
                break
        if new is not None:
            self._events.publish("created", digest=digest, size=new.size, labels=new.labels)
        return new

    async def find(self, digest: Digest, size: int | None = None) -> Object | None:
        """Return the object of a blob, or None if it is not stored or has another size. From now on it is protected like a new blob."""
        while True:
            since = await self._watch.begin()
            try:
                found = await self.look(digest)
            except NotFound:
                return None
            if size not in {None, found.size}:
                return None
            if not await self.settle(since, [Stored(digest, is_found=True)], is_wide=True):
                return found

    async def settle(self, since: Seen, stored: Sequence[StoredT], *, is_wide: bool) -> list[StoredT]:
        """Return those of the stored or found blobs that a collection may have removed meanwhile. The others stay.

        Args:
            since: the latest collection that was known before they were stored or found.
            stored: the blobs. An empty sequence takes no request.
            is_wide: whether the caller also relies on the blobs that these blobs name.
        """
        if not stored:
            return []
        if since.number and (found := [each.digest for each in stored if each.is_found]):
            await map_concurrently(found, self._notes.remove, concurrency=_AT_ONCE)
        notes = (note for each in stored for note in _notes_of(each))
        if not await self._watch.settle(since, notes, is_wide=is_wide):
            return []
        gone: list[StoredT] = []

        async def look(each: StoredT) -> None:
            if (each.is_found and not since.number) or not await self.has(each.digest):
                gone.append(each)
            else:
                await each.again()

        await map_concurrently(stored, look, concurrency=_AT_ONCE)
        return gone

    async def replace(self, digest: Digest, write: Callable[[], Awaitable[object]]) -> None:
        """Replace a damaged blob, and keep its labels."""
        with suppress(NotFound):
            if (record := await self._labels.read(label_name(digest))) is not None:
                kept = _valid(await self.look(digest), record)
                await write()
                if kept is not None:
                    found = await self.look(digest)
                    await self._labels.change(
                        label_name(digest), lambda _: msgspec.structs.replace(kept, blob=_identity(found))
                    )
                return
        await write()

    async def announce(self, digest: Digest, labels: Labels) -> None:
        """Write the labels of a blob that is about to be stored, unless a stored blob has labels."""
        if labels:
            value = LabelValue(labels=dict(labels), at=after(to_time(0)), blob=None)

            def edit(old: LabelRecord | None) -> LabelValue | Keep:
                return KEEP if old is not None and old.value is not None and old.value.blob is not None else value

            await self._labels.change(label_name(digest), edit)

    async def added(self, digest: Digest, size: int, labels: Labels, found: Object | None = None) -> Info:
        """Return the info of a blob that this client has just stored, with the labels that it gave."""
        record = None
        if found is None and labels:
            with suppress(NotFound):  # a collection has removed it already; `settle` will notice
                found = await self.look(digest)
        if found is not None and labels:
            # Several clients may have announced labels. The labels of the client that created the object count.
            value = LabelValue(labels=dict(labels), at=to_time(found.modified_ns), blob=_identity(found))
            record = await self._labels.change(label_name(digest), lambda _: value)
        return _info(digest, found or Object(blob_key(digest), size, None, time.time_ns()), record)

    async def _bind(self, digest: Digest, found: Object) -> None:
        def edit(old: LabelRecord | None) -> LabelValue | Keep:
            kept = _valid(found, old)
            return KEEP if kept is None else msgspec.structs.replace(kept, blob=_identity(found))

        await self._labels.change(label_name(digest), edit)

    async def gone(self, digests: Sequence[Digest], reason: Literal["deleted", "quarantined", "collected"]) -> None:
        """Publish the events of deleted blobs, and remove the blobs from the cache."""
        for digest in digests:
            self._events.publish("deleted", digest=digest, reason=reason)
        if self._cache is not None:
            await self._cache.remove(digests)


class _Written(Stored):
    """A blob that was written or found by a call of `publish`."""

    def __init__(
        self, blobs: Blobs, digest: Digest, made: Info | None, note_names: Callable[[], Awaitable[bool]]
    ) -> None:
        super().__init__(digest, is_found=made is None, labels=NO_LABELS if made is None else made.labels)
        self._blobs, self._made, self._note_names = blobs, made, note_names

    async def again(self) -> None:
        await self._note_names()
        if self._made is not None and self.labels:
            await self._blobs.added(self.digest, self._made.size, self.labels)


def _notes_of(stored: Stored) -> list[Note]:
    """Return the notes for a collection about a blob that was stored or found."""
    return [Note(kind="stored", digest=str(stored.digest)), *_label_notes(stored.digest, stored.labels)]


def _label_notes(digest: Digest, labels: Labels) -> list[Note]:
    """Return the notes for a collection about labels that were set."""
    return [Note(kind="labels", digest=str(digest))] if any(key.startswith(_PREFIX) for key in labels) else []


def _identity(found: Object) -> str:
    """Return the value that distinguishes an object from a later one at the same key: its time, in seconds.

    An ETag would add nothing, because equal bytes have equal ETags, and a server that reports a wrong one would lose the labels.
    """
    return f"{found.modified_ns // 10**9}"


def _valid(found: Object, record: LabelRecord | None) -> LabelValue | None:
    """Return the labels of a record if they belong to this object."""
    if record is None or record.value is None:
        return None
    if record.value.blob is not None:
        return record.value if record.value.blob.rpartition("@")[2] == _identity(found) else None
    # Announced labels belong to an object that was created soon afterwards.
    return record.value if -1 <= (found.modified_ns - record.modified_ns) // 10**9 <= _ANNOUNCED_SECONDS else None


def _info(digest: Digest, found: Object, record: LabelRecord | None) -> Info:
    created_at = to_time(found.modified_ns)
    info = Info(digest=digest, size=found.size, created_at=created_at, updated_at=created_at)
    value = _valid(found, record)
    if value is None:
        return info
    updated_at = created_at if value.blob is None else max(created_at, value.at)
    return msgspec.structs.replace(info, updated_at=updated_at, labels=Labels(value.labels))
