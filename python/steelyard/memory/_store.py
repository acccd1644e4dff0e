"""`MemoryStore` itself."""

from __future__ import annotations

import copy
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import timedelta
from typing import Self

import msgspec
from anyio.lowlevel import checkpoint

from steelyard._runtime.chunks import slices
from steelyard._runtime.concurrent import check_concurrency
from steelyard._runtime.opening import opening
from steelyard._runtime.refqueue import share_queue
from steelyard.base import BaseStore
from steelyard.collection import CollectDefaults, Collected, CollectOptions, Reason
from steelyard.content import ReaderAt, Writer
from steelyard.content._put_many import UntilEnded
from steelyard.digest import Algorithm, Digest
from steelyard.errors import AlreadyExists, DataCorrupt, NotFound, Unavailable
from steelyard.events import Events, EventSource
from steelyard.filters import info_fields, status_fields
from steelyard.filters._async import AT_ONCE, choose, compiled
from steelyard.hashing import digest_of
from steelyard.leases import check_lease
from steelyard.memory._blob import Blob
from steelyard.memory._changes import Change, Changes
from steelyard.memory._collection import Collection
from steelyard.memory._ingest import Ingest, MemoryWriter, now
from steelyard.memory._leases import MemoryLeases
from steelyard.memory._marking import Contents
from steelyard.memory._names import MemoryImageNames
from steelyard.model import Descriptor, Info, Labels, OnProgress, Progress, PutManyResult, Sources, Status, Verified
from steelyard.options import IngestOptions, PutOptions, changed_labels, check_ref
from steelyard.transfer._memory_reader import MemoryReader

__all__ = ("MemoryStore",)


class MemoryStore(BaseStore):
    """A content store in memory, for tests and for data that need not outlive the program.

    It keeps every promise of `steelyard.content` except durability. It can be used with or without ``async with``, which has no
    further effect. Each blob is one `bytes` object, and each `Writer.digest` hashes the whole ingest again.
    """

    def __init__(self) -> None:
        self._blobs: dict[Digest, Blob] = {}
        self._ingests: dict[str, Ingest] = {}
        self._events = EventSource()
        self._changes = Changes()
        self._names = MemoryImageNames(self._events, self._changes)
        self._leases = MemoryLeases(self._events, self._changes)
        self._verified: set[Digest] = set()
        contents = Contents(self._blobs, self._ingests, self._names, self._leases)
        self._collection = Collection(contents, self._changes, self._events)

    @property
    def images(self) -> MemoryImageNames:
        """The image names; see `steelyard.names`."""
        return self._names

    @property
    def leases(self) -> MemoryLeases:
        """The leases; see `steelyard.leases`."""
        return self._leases

    def with_lease(self, lease: str) -> Self:
        """Return this store with a lease; see `Store.with_lease`. Both have the same blobs, ingests, names and leases."""
        leased = copy.copy(self)
        leased._lease = check_lease(lease)  # noqa: SLF001  # a copy of this store
        share_queue(leased, self)
        return leased

    async def _begin_lease(self, lease: str, labels: Labels, expires: timedelta | None) -> None:
        await checkpoint()
        self._leases.begin(lease, labels, expires, process=os.getpid())

    async def _end_lease(self, lease: str) -> None:
        self._leases.end(lease)

    def events(self, *filters: str, buffer: int = 4096) -> Events:
        """Iterate over the changes; see `Store.events`."""
        return self._events.subscribe(filters, buffer=buffer)

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob for reading; see `Provider.reader_at`."""
        await checkpoint()
        given = Descriptor.of(blob)
        found = self._blob(given.digest)
        given.check_size(len(found.data))
        found.use()
        return MemoryReader(found.info.digest, found.data)

    @opening
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Writer:
        """Begin or resume an ingest; see `Ingester.writer`."""
        await checkpoint()
        options = IngestOptions.parse(ref, size=size, expected=expected, algorithm=algorithm)
        wanted = options.expected
        ingest = self._ingests.get(ref)
        if ingest is not None and ingest.held_since is not None:
            raise Unavailable(ref, holder="this process", since=ingest.held_since, local=True)
        self._enter(digests=() if wanted is None else (wanted,), refs=(ref,))
        if wanted is not None and wanted in self._blobs and self._blobs[wanted].is_whole(size):
            self._ingests.pop(ref, None)  # the blob is stored, so nothing needs the ingest any more
            self._leave(refs=(ref,))
            self._renew(wanted)
            raise AlreadyExists(wanted)
        if ingest is None:
            ingest = self._ingests[ref] = Ingest(ref)
        ingest.held_since = now()
        ingest.algorithm = ingest.algorithm if options.algorithm is None else options.algorithm
        ingest.total = ingest.total if size is None else size
        ingest.expected = ingest.expected if wanted is None else wanted
        self._changes.note(Change("ingest", ref))
        return MemoryWriter(ingest, self._publish, self._ref_released)

    def _put_many(
        self, sources: Sources, options: PutOptions, concurrency: int | None
    ) -> AsyncGenerator[PutManyResult, None]:
        results = super()._put_many(sources, options, concurrency)
        return results if self._lease is None else UntilEnded(results)

    async def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob; see `Manager.info`."""
        await checkpoint()
        return self._blob(Digest.parse(digest)).info

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels; see `Manager.update`."""
        await checkpoint()
        blob = self._blob(info.digest)
        labels = changed_labels(blob.info.labels, info.labels, *fieldpaths)
        blob.info = msgspec.structs.replace(blob.info, labels=labels, updated_at=now())
        self._changes.note(Change("labels", digest=info.digest))
        self._events.publish("labelled", digest=blob.info.digest, size=blob.info.size, labels=labels)
        return blob.info

    async def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over blobs, ordered by digest; see `Manager.walk`."""
        chosen = await compiled(filters)
        digests = sorted(self._blobs)
        for some in slices(digests, AT_ONCE):
            blobs = map(self._blobs.get, some)
            infos = [blob.info for blob in blobs if blob is not None]
            for info in await choose(chosen, infos, info_fields):
                if info.digest in self._blobs:
                    yield self._blobs[info.digest].info
                    await checkpoint()

    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob and its labels; see `Manager.delete`."""
        await checkpoint()
        name = self._blob(Digest.parse(digest)).info.digest
        del self._blobs[name]
        self._leave(digests=(name,))
        self._events.publish("deleted", digest=name, reason="deleted")

    async def status(self, ref: str) -> Status:
        """Return the status of an ingest; see `IngestManager.status`."""
        await checkpoint()
        return self._ingest(ref).status()

    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the statuses of ingests, ordered by ref; see `IngestManager.list_statuses`."""
        chosen = await compiled(filters)
        return await choose(chosen, [self._ingests[ref].status() for ref in sorted(self._ingests)], status_fields)

    async def abort(self, ref: str) -> None:
        """Discard an ingest; see `IngestManager.abort`."""
        await checkpoint()
        self._ingest(ref).aborted = True
        del self._ingests[ref]
        self._leave(refs=(ref,))
        self._ref_released(ref)

    async def verify(
        self, digest: Digest | str, *, quarantine: bool = True, on_progress: OnProgress | None = None
    ) -> None:
        """Compare a blob with its digest and, with `quarantine`, remove it if it is damaged.

        Raises:
            NotFound: it is not stored.
            DataCorrupt: it is damaged. With `quarantine`, it is no longer stored, and its bytes are lost.
        """
        await checkpoint()
        blob = self._blob(Digest.parse(digest))
        name = str(blob.info.digest)
        found = await digest_of(blob.data, algorithm=blob.info.digest.algorithm)
        if on_progress is not None:
            on_progress(Progress(phase="verify", name=name, done=len(blob.data), total=blob.info.size))
        if found == blob.info.digest:
            return
        if quarantine and self._blobs.get(blob.info.digest) is blob:
            del self._blobs[blob.info.digest]
            self._events.publish("deleted", digest=blob.info.digest, reason="quarantined")
        raise DataCorrupt(name, expected=name, actual=found)

    async def verify_all(
        self,
        *,
        concurrency: int = 2,
        resume: bool = False,
        quarantine: bool = True,
        on_progress: OnProgress | None = None,
    ) -> AsyncGenerator[Verified, None]:
        """Verify every blob and yield each result; with `resume`, only the blobs that an unfinished run did not reach."""
        check_concurrency(concurrency)
        if not resume:
            self._verified.clear()
        for digest in sorted(self._blobs.keys() - self._verified):
            error = None
            try:
                size = (await self.info(digest)).size
                await self.verify(digest, quarantine=quarantine, on_progress=on_progress)
            except NotFound:
                continue
            except DataCorrupt as damage:
                error = damage
            self._verified.add(digest)
            yield Verified(digest=digest, size=size, error=error)
        self._verified.clear()

    async def _collect(self, options: CollectOptions) -> Collected:
        return await self._collection.collect(options)

    async def _collect_defaults(self, grace: timedelta | None, ingest_age: timedelta | None) -> CollectDefaults:
        await checkpoint()
        self._collection.defaults = self._collection.defaults.changed(grace, ingest_age)
        return self._collection.defaults

    async def _reasons(self, digests: Sequence[Digest]) -> dict[Digest, Reason]:
        return await self._collection.reasons(digests)

    async def _serve(self, collector: str | None) -> None:
        await checkpoint()
        self._collection.serve(collector)

    def _enter(self, *, digests: Iterable[Digest], refs: Iterable[str] = ()) -> None:
        """Add blobs and ingests to the lease of this store, if it has one."""
        if self._lease is not None:
            self._leases.enter(self._lease, digests=digests, refs=refs)

    def _leave(self, *, digests: Iterable[Digest] = (), refs: Iterable[str] = ()) -> None:
        """Remove deleted blobs and ended ingests from the lease of this store, if it has one."""
        if self._lease is not None:
            self._leases.leave(self._lease, digests=digests, refs=refs)

    def _renew(self, digest: Digest) -> None:
        """Treat a blob as stored just now. Called before a caller learns that it is stored."""
        self._blobs[digest].renew()
        self._changes.note(Change("stored", digest=digest))

    def _blob(self, digest: Digest) -> Blob:
        if digest not in self._blobs:
            raise NotFound(digest)
        return self._blobs[digest]

    def _ingest(self, ref: str) -> Ingest:
        if check_ref(ref) not in self._ingests:
            raise NotFound(ref, kind="ingest")
        return self._ingests[ref]

    def _publish(self, ingest: Ingest, data: bytes, digest: Digest, labels: Labels) -> Info:
        self._enter(digests=(digest,))  # before a caller or subscriber learns of the blob
        del self._ingests[ingest.ref]
        self._leave(refs=(ingest.ref,))
        stored = self._blobs.get(digest)
        if stored is not None:
            stored.data = data  # repairs a damaged copy
            self._renew(digest)
            raise AlreadyExists(digest)
        time = now()
        info = Info(digest=digest, size=len(data), created_at=time, updated_at=time, labels=labels)
        self._blobs[digest] = Blob(data, info)
        self._changes.note(Change("stored", digest=digest))
        self._events.publish("created", digest=digest, size=info.size, labels=labels)
        return info
