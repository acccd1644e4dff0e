"""Garbage collection in memory: the reference for every store that collects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from anyio.lowlevel import checkpoint

from steelyard._archive._references import DOCUMENT_LIMIT, References, is_document, may_be_document, references_in
from steelyard._runtime.calls import run
from steelyard._runtime.chunks import slices
from steelyard.collection import DEFAULT_INGEST_AGE, Collected, CollectOptions, Kept, Reason, Root
from steelyard.digest import Digest
from steelyard.errors import CollectionBusy, CollectionRefused, DataCorrupt, FailedPrecondition
from steelyard.events import EventSource
from steelyard.hashing import Hasher
from steelyard.memory._blob import Blob
from steelyard.memory._ingest import Ingest
from steelyard.memory._leases import MemoryLeases
from steelyard.memory._mark import FLAT, ROOT, Entry, Graph, Marks, Warnings, expiry_of, has_passed, now_at_least
from steelyard.memory._names import MemoryImageNames
from steelyard.memory._sweep import Sweep

__all__ = ("Collection",)

_AT_ONCE = 64
"""Blobs that are looked at without a checkpoint."""

_INLINE = 64 << 10
"""The most bytes of a document that is parsed in the event loop's thread."""


class Collection:
    """The collections of a store in memory.

    Documents are read in steps. To mark and to remove is one step, so nothing changes in between: a store that cannot do that needs a log
    of what is protected meanwhile.

    Args:
        blobs: the blobs of the store.
        ingests: its ingests.
        names: its image names.
        leases: its leases.
        events: gets an event for each blob that is removed.
    """

    def __init__(
        self,
        blobs: dict[Digest, Blob],
        ingests: dict[str, Ingest],
        names: MemoryImageNames,
        leases: MemoryLeases,
        events: EventSource,
    ) -> None:
        self._events = events
        self._blobs = blobs
        self._ingests = ingests
        self._names = names
        self._leases = leases
        self._documents: dict[Digest, References] = {}
        self._is_running = False
        self._served: list[str | None] = []  # at most one

    def serve(self, collector: str | None) -> None:
        """Note that a service begins, for a program that collects the garbage from now on, or with None for others.

        Raises:
            FailedPrecondition: the store was served the other way.
            CollectionBusy: a collection is under way.
        """
        if self._served and self._served != [collector]:
            raise FailedPrecondition("MemoryStore: it was served to programs with another collector")
        if collector is not None and self._is_running:
            raise CollectionBusy("this process")
        self._served = [collector]

    async def collect(self, options: CollectOptions) -> Collected:
        """Remove garbage; see `Collector.collect`."""
        if self._is_running:
            await checkpoint()
            raise CollectionBusy("this process")
        if (other := next(iter(self._served), None)) is not None:
            await checkpoint()
            reason = f"{other} collects the blobs of this store for as long as it exists"
            raise CollectionRefused("MemoryStore", cause="open", reason=reason)
        self._is_running = True
        try:
            await self._read_documents(options)
            warnings = Warnings()
            abandoned = self._abandoned(options)
            graph, marks = self._marked(warnings, abandoned)
            sweep = Sweep(self._blobs, (digest for digest in self._blobs if digest not in marks), graph, options)
            garbage = [sweep.report(digest, goes=True) for digest in sweep.going]
            staying = [sweep.report(digest, goes=False) for digest in sweep.staying]
            kept = self._kept(marks)
            if not options.dry_run:
                self._remove(sweep, marks, abandoned)
        finally:
            self._is_running = False
        size = sum(each.size for each in garbage)
        options.report("remove", size, size)
        for some in slices(garbage + (staying if options.dry_run else []), _AT_ONCE):
            await checkpoint()
            for each in some:
                options.found(each)
        return Collected(
            blobs=len(garbage),
            bytes=size,
            ingests=len(abandoned),
            kept=kept,
            spared=len(staying),
            spared_bytes=sum(each.size for each in staying),
            missed_bytes=0 if options.max_bytes is None else max(0, sweep.left_bytes - options.max_bytes),
            warnings=warnings.all(),
            dry_run=options.dry_run,
        )

    async def reasons(self, digests: Sequence[Digest]) -> dict[Digest, Reason]:
        """Return why blobs are kept; see `Collector.reasons`."""
        await self._read_documents(CollectOptions())
        _, marks = self._marked(Warnings(), ())
        found = {}
        for digest in digests:
            if (blob := self._blobs.get(digest)) is not None:
                root = marks.root_of(digest)
                since = None if root is not None or blob.note is None else blob.note.at
                found[digest] = Reason(digest=digest, root=root, chain=marks.chain_to(digest), since=since)
        return found

    async def _read_documents(self, options: CollectOptions) -> None:
        """Read the documents that were not read before. Those that are stored meanwhile are read when all is marked."""
        done = 0
        await checkpoint()
        for digests in slices(list(self._blobs), _AT_ONCE):
            for digest in digests:
                blob = self._blobs.get(digest)
                if blob is not None and digest not in self._documents and may_be_document(blob.data):
                    read = partial(_read, digest, blob.data)
                    self._documents[digest] = read() if len(blob.data) <= _INLINE else await run(read)
            done += len(digests)
            options.report("mark", done)
            await checkpoint()

    def _marked(self, warnings: Warnings, abandoned: Iterable[str]) -> tuple[Graph, Marks]:
        for digest, blob in self._blobs.items():
            if digest not in self._documents and may_be_document(blob.data):
                self._documents[digest] = _read(digest, blob.data)
        graph = Graph(self._blobs, self._documents, warnings)
        marks = Marks(graph, self._roots(warnings, abandoned))
        for digest in sorted(marks.documents & self._blobs.keys()):
            if digest not in self._documents:
                _check_document(digest, self._blobs[digest].data)
            if not self._documents.get(digest, _MALFORMED).is_whole:
                warnings.add(f"blob {digest}: a malformed document, so it keeps nothing")
        return graph, marks

    def _roots(self, warnings: Warnings, abandoned: Iterable[str]) -> Iterator[Entry]:
        for image in self._names.images():
            if not has_passed(image.labels, f"image name {image.name}", warnings):
                root = Root(kind="image name", name=image.name, until=expiry_of(image.labels))
                yield Entry(root, (image.target.digest,), is_document=is_document(image.target.media_type or ""))
        for digest, blob in self._blobs.items():
            labels = blob.info.labels
            if labels.get(ROOT) and not has_passed(labels, f"blob {digest}", warnings):
                yield Entry(Root(kind="label", name=str(digest), until=expiry_of(labels)), (digest,))
        for lease, digests in self._leases.lasting():
            yield Entry(
                Root(kind="lease", name=lease.id, until=lease.expires_at), digests, is_flat=FLAT in lease.labels
            )
        for ref, ingest in self._ingests.items():
            if ingest.expected is not None and ref not in abandoned:
                yield Entry(Root(kind="ingest", name=ref), (ingest.expected,))

    def _abandoned(self, options: CollectOptions) -> list[str]:
        age = DEFAULT_INGEST_AGE if options.ingest_age is None else options.ingest_age
        return [
            ref
            for ref, ingest in self._ingests.items()
            if ingest.held_since is None
            and ingest.updated_at + age <= now_at_least()
            and not self._leases.has_ingest(ref)
        ]

    def _kept(self, marks: Marks) -> Kept:
        roots = (marks.root_of(digest) for digest in self._blobs)
        kinds = Counter(root.kind for root in roots if root is not None)
        return Kept(
            image_names=kinds["image name"], labels=kinds["label"], leases=kinds["lease"], ingests=kinds["ingest"]
        )

    def _remove(self, sweep: Sweep, marks: Marks, abandoned: Iterable[str]) -> None:
        for ref in abandoned:
            del self._ingests[ref]
        for digest in sweep.going:
            del self._blobs[digest]
            self._events.publish("deleted", digest=digest, reason="collected")
        for digest, blob in self._blobs.items():
            if digest in marks:
                blob.note = None
            elif blob.note is None:
                blob.note = sweep.at
        # A name keeps what its document is known to name, even while the document is missing.
        self._documents = {
            each: named for each, named in self._documents.items() if each in self._blobs or each in marks
        }


_MALFORMED = References(is_whole=False)


def _read(digest: Digest, data: bytes) -> References:
    _verify(digest, data)
    return references_in(data)


def _verify(digest: Digest, data: bytes) -> None:
    hasher = Hasher(digest.algorithm)
    hasher.update(data)
    if (found := hasher.digest()) != digest:
        raise DataCorrupt(digest, expected=digest, actual=found)


def _check_document(digest: Digest, data: bytes) -> None:
    """Refuse a document, by its media type, that cannot be read: it may name anything."""
    _verify(digest, data)
    if len(data) > DOCUMENT_LIMIT:
        reason = f"blob {digest}: a document of {len(data)} bytes, at most {DOCUMENT_LIMIT} are read"
        raise CollectionRefused("MemoryStore", cause="document", reason=reason)
