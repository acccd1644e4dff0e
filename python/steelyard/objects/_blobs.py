"""The blobs of a store in a bucket, and their labels."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Literal

import msgspec

from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Digest
from steelyard.errors import NotFound, UnexpectedDigest, UnexpectedSize
from steelyard.events import EventSource
from steelyard.filters import info_fields
from steelyard.filters._async import choose, compiled
from steelyard.model import NO_LABELS, Buffer, Info, Labels, PutResult
from steelyard.objects._cache import Cache
from steelyard.objects._documents import register
from steelyard.objects._layout import BLOBS, LABELS, blob_key, digest_at, label_name
from steelyard.objects._lookup import look_at_many
from steelyard.objects._notes import Notes
from steelyard.objects._records import KEEP, Keep, Record, Records
from steelyard.objects._requests import Missing, Object, Requests, Taken
from steelyard.objects._values import LabelValue, after, to_time
from steelyard.objects._watch import Note, Seen, Watch
from steelyard.options import PutOptions, changed_labels
from steelyard.transfer._small import Small, digest_small

__all__ = ("Blobs",)

_COMPARED = 64 << 10
"""A blob of up to so many bytes that is there already is compared; of a larger one, only the size is."""

_AT_ONCE = 32
"""Blobs that are looked at at once."""

_ANNOUNCED = 3600
"""Seconds within which an object must follow labels that were written for it."""

_PREFIX = "containerd.io/gc."
"""The first letters of the labels that a collection follows."""

LabelRecord = Record[LabelValue]

Enter = Callable[[Digest], Awaitable[object]]
"""Enters a blob into a lease, if there is one."""


class Blobs:
    """The blobs below one prefix.

    The labels of a blob are a record of their own. Those of a new blob are written before it (`announce`), so that it never is without them,
    and again when it is there, bound to that object. So what an interrupted `put` or `delete` leaves never labels a later blob.

    Whatever stores or finds a blob looks afterwards whether a collection could have removed it, and then begins again.

    Args:
        requests: the server.
        watch: looks at collections.
        events: gets the events of the blobs.
        cache: loses the blobs that are deleted.
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
            NotFound: it is not stored.
        """
        try:
            return await self._requests.head(blob_key(digest))
        except Missing:
            raise NotFound(digest) from None

    async def has(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is stored, with that size if one is given."""
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
            # Else a blob that is stored later would have them, if nothing removes them after this one.
            await self._bind(digest, found)
        await self._requests.delete(blob_key(digest))
        if record is not None and record.value is not None:
            await self._labels.change(
                label_name(digest), lambda old: KEEP if old is None or old.value is None else None
            )
        if (await self._watch.begin()).number:
            await self._notes.remove(digest)

    async def forget_labels(self, digest: Digest, before_ns: int) -> None:
        """Remove the labels of a blob that is gone, if they are not newer than a time of the server's clock."""

        def edit(old: LabelRecord | None) -> Keep | None:
            return KEEP if old is None or old.value is None or old.modified_ns > before_ns else None

        await self._labels.change(label_name(digest), edit)

    async def put(self, whole: Small, options: PutOptions, enter: Enter) -> PutResult:
        """Store bytes; see `Store.put`. A new blob without labels takes a request and a look, which tasks share."""
        wanted = options.expected
        if wanted is not None:
            await enter(wanted)
            found = await self.find(wanted, options.size)
            if found is not None:
                return PutResult(digest=wanted, size=found.size, new=False)
        if options.size is not None and options.size != whole.size:
            raise UnexpectedSize(expected=options.size, actual=whole.size)
        digest = await digest_small(whole.data, options.algorithm if wanted is None else wanted.algorithm)
        if wanted is not None and digest != wanted:
            raise UnexpectedDigest(expected=wanted, actual=digest)
        await enter(digest)
        options.report("write", whole.name, whole.size, whole.size)
        new = await self.store(digest, whole.data, options.labels)
        options.report("commit", whole.name, whole.size, whole.size)
        return PutResult(digest=digest, size=whole.size, new=new is not None)

    async def store(self, digest: Digest, data: Buffer, labels: Labels) -> Info | None:
        """Store bytes by one request; return the info of the blob, or None if it is stored already.

        What is there is compared, or replaced if it was not written by a store: another program may have put other bytes at the key.
        """
        size = memoryview(data).nbytes

        async def write() -> Info | None:
            if labels and not await self.has(digest):
                await self.announce(digest, labels)
            try:
                await self._requests.put(blob_key(digest), data, create=True)
            except Taken:
                if not await self.is_whole(digest, data):
                    await self.replace(digest, lambda: self._requests.put(blob_key(digest), data, create=False))
                return None
            return await self.added(digest, size, labels)

        return await self.publish(digest, write, lambda: register(self._requests, digest, data))

    async def publish(
        self,
        digest: Digest,
        write: Callable[[], Awaitable[Info | None]],
        note_names: Callable[[], Awaitable[bool]],
    ) -> Info | None:
        """Store or find a blob, and wait until no collection removes it.

        Args:
            digest: the blob.
            write: stores it; returns its info, or None if it is stored already.
            note_names: notes what it names; returns whether it names anything.
        """
        new: Info | None = None
        while True:
            since = await self._watch.begin()
            is_document = await note_names()
            made = await write()
            new = new or made
            labels = NO_LABELS if made is None else made.labels

            async def again(labels: Labels = labels, size: int = 0 if made is None else made.size) -> None:
                # A collection that removed an older blob at this key may have removed these, too.
                await note_names()
                if labels:
                    await self.added(digest, size, labels)

            if await self._settle(
                since, digest, is_wide=is_document, is_found=made is None, labels=labels, again=again
            ):
                break
        if new is not None:
            self._events.publish("created", digest=digest, size=new.size, labels=new.labels)
        return new

    async def find(self, digest: Digest, size: int | None = None) -> Object | None:
        """Return the object of a blob, with that size if one is given, from now on protected as if it had just been stored."""
        while True:
            since = await self._watch.begin()
            try:
                found = await self.look(digest)
            except NotFound:
                return None
            if size not in {None, found.size}:
                return None
            if await self._settle(since, digest, is_wide=True, is_found=True):
                return found

    async def _settle(
        self,
        since: Seen,
        digest: Digest,
        *,
        is_wide: bool,
        is_found: bool,
        labels: Labels = NO_LABELS,
        again: Callable[[], Awaitable[None]] | None = None,
    ) -> bool:
        """Return whether a blob that was stored or found stays. If not, a collection may have removed it meanwhile."""
        if is_found and since.number:
            await self._notes.remove(digest)
        notes = [Note(kind="stored", digest=str(digest)), *_label_notes(digest, labels)]
        if not await self._watch.settle(since, notes, is_wide=is_wide):
            return True
        if is_found and not since.number:
            return False
        if not await self.has(digest):
            return False
        if again is not None:
            await again()
        return True

    async def is_whole(self, digest: Digest, data: Buffer) -> bool:
        """Return whether the object at a digest has these bytes, as far as that is worth a request."""
        size = memoryview(data).nbytes
        try:
            if size > _COMPARED:
                found = await self._requests.head(blob_key(digest))
                return found.is_ours and found.size == size
            _, there = await self._requests.get(blob_key(digest))
        except Missing:
            return False
        return there == bytes(memoryview(data))

    async def replace(self, digest: Digest, write: Callable[[], Awaitable[object]]) -> None:
        """Replace a damaged blob, which keeps its labels."""
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
        """Write the labels of a blob that is about to be stored, unless another client has labelled it."""
        if labels:
            value = LabelValue(labels=dict(labels), at=after(to_time(0)), blob=None)

            def edit(old: LabelRecord | None) -> LabelValue | Keep:
                return KEEP if old is not None and old.value is not None and old.value.blob is not None else value

            await self._labels.change(label_name(digest), edit)

    async def added(self, digest: Digest, size: int, labels: Labels, found: Object | None = None) -> Info:
        """Return the info of a blob that was just stored, with the labels of who stored it."""
        record = None
        if found is None and labels:
            found = await self.look(digest)
        if found is not None and labels:
            # Several may have announced labels for it; those count of the one that stored it.
            value = LabelValue(labels=dict(labels), at=to_time(found.modified_ns), blob=_identity(found))
            record = await self._labels.change(label_name(digest), lambda _: value)
        return _info(digest, found or Object(blob_key(digest), size, None, time.time_ns()), record)

    async def _bind(self, digest: Digest, found: Object) -> None:
        def edit(old: LabelRecord | None) -> LabelValue | Keep:
            kept = _valid(found, old)
            return KEEP if kept is None else msgspec.structs.replace(kept, blob=_identity(found))

        await self._labels.change(label_name(digest), edit)

    async def gone(self, digests: Sequence[Digest], reason: Literal["deleted", "quarantined", "collected"]) -> None:
        """Report that blobs are no longer stored, and remove them from the cache."""
        for digest in digests:
            self._events.publish("deleted", digest=digest, reason=reason)
        if self._cache is not None:
            await self._cache.remove(digests)


def _label_notes(digest: Digest, labels: Labels) -> list[Note]:
    """Return what a collection must know of labels that were set."""
    return [Note(kind="labels", digest=str(digest))] if any(key.startswith(_PREFIX) for key in labels) else []


def _identity(found: Object) -> str:
    """Return what tells an object from one that is written at the same key later: its time.

    An ETag tells no more, as equal bytes have equal ones, and a wrong one in an answer would cost the labels.
    """
    return f"{found.modified_ns // 10**9}"


def _valid(found: Object, record: LabelRecord | None) -> LabelValue | None:
    """Return the labels of a record if they are this object's."""
    if record is None or record.value is None:
        return None
    if record.value.blob is not None:
        return record.value if record.value.blob.rpartition("@")[2] == _identity(found) else None
    # Announced: for an object that was created soon afterwards.
    return record.value if -1 <= (found.modified_ns - record.modified_ns) // 10**9 <= _ANNOUNCED else None


def _info(digest: Digest, found: Object, record: LabelRecord | None) -> Info:
    created_at = to_time(found.modified_ns)
    info = Info(digest=digest, size=found.size, created_at=created_at, updated_at=created_at)
    value = _valid(found, record)
    if value is None:
        return info
    updated_at = created_at if value.blob is None else max(created_at, value.at)
    return msgspec.structs.replace(info, updated_at=updated_at, labels=Labels(value.labels))
