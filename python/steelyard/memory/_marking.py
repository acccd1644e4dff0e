"""Marks the blobs that roots keep, in steps, while other tasks use the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from steelyard._archive._references import is_document
from steelyard._collecting.labels import FLAT, ROOT, expiry_of
from steelyard._collecting.marks import Entry, Graph, Marks, Warnings, has_passed, now_at_least
from steelyard._collecting.pace import Pace
from steelyard.collection import Root
from steelyard.digest import Digest
from steelyard.memory._blob import Blob
from steelyard.memory._changes import Change
from steelyard.memory._documents import Documents
from steelyard.memory._ingest import Ingest
from steelyard.memory._leases import MemoryLeases
from steelyard.memory._names import MemoryImageNames
from steelyard.model import NO_LABELS, Labels

__all__ = ("Contents", "Marking")


class Contents(NamedTuple):
    """The contents of a store in memory.

    Attributes:
        blobs: its blobs.
        ingests: its ingests.
        names: its image names.
        leases: its leases.
    """

    blobs: dict[Digest, Blob]
    ingests: dict[str, Ingest]
    names: MemoryImageNames
    leases: MemoryLeases


class Marking:
    """The marks of one collection, or of one call of `reasons`.

    `mark` goes through all roots. The changes that other tasks make meanwhile are in the log, and `settle` applies them. When `settle`
    returns, every blob that a root keeps is marked, including blobs that moved from one root or blob to another. This holds until the next
    wait of the task.

    Args:
        contents: the contents of the store.
        documents: the documents that were read.
        log: the changes from now on.
        ingest_age: the age at which an ingest counts as abandoned, or None if ingests are never abandoned.

    Attributes:
        pace: the pace of the task.
        warnings: the warnings for the result.
        blobs: the blobs that were stored at the start.
        graph: the references of the blobs.
        marks: the blobs that roots keep.
        spared: garbage that stays: blobs that were stored or found since the start, blobs that the sweep spares, and all blobs that these
            name.
        fresh: the blobs that were stored or found since the start.
        abandoned: the abandoned ingests that were found so far.
    """

    def __init__(
        self, contents: Contents, documents: Documents, log: dict[Change, None], ingest_age: timedelta | None
    ) -> None:
        self._contents = contents
        self._documents = documents
        self._log = log
        self._ingest_age = ingest_age
        self.pace = Pace()
        self.warnings = Warnings()
        self.blobs = list(contents.blobs.items())
        self.graph = Graph(self._labels_of, documents, self.warnings)
        self.marks = Marks(self.graph, self.pace)
        self.spared = Marks(self.graph, self.pace)
        self.fresh: set[Digest] = set()
        self.abandoned: set[str] = set()
        self._named_as_documents: set[Digest] = set()

    async def mark(self, on_read: Callable[[int], object] = lambda _: None) -> None:
        """Mark the blobs that roots keep.

        Args:
            on_read: called repeatedly with the number of blobs that were examined so far, in the search for documents.

        Raises:
            DataCorrupt: a document is damaged.
            CollectionRefused: a document is too large.
        """
        contents, pace = self._contents, self.pace
        done = 0
        async for digest, _ in pace.each(self.blobs):
            await self._documents.read(digest, pace)
            done += 1
            if done % _REPORTED == 0 or done == len(self.blobs):
                on_read(done)
        async for name in pace.each(await pace.sort(contents.names.names())):
            await self._add_unlinked(self._of_name(name))
        async for digest, blob in pace.each(self.blobs):
            if blob.info.labels:
                await self._add_unlinked(self._of_labels(digest))
        flat = []
        async for lease in pace.each(await pace.sort(contents.leases.ids())):
            entry = self._of_lease(lease)
            if entry is not None and entry.is_flat:
                flat.append(entry)
            else:
                await self._add_unlinked(entry)
        async for ref in pace.each(list(contents.ingests)):
            await self._add_unlinked(self._of_ingest(ref))
        for entry in flat:
            await self._add_unlinked(entry)
        await self.marks.link()
        await self.settle()

    async def settle(self) -> None:
        """Apply the changes since the last call; see `mark` for the errors."""
        while self._log or self.marks.documents:
            while self._log:
                change = next(iter(self._log))
                del self._log[change]
                self.pace.count()
                await self.pace.pause()
                await self._follow(change)
            documents, self.marks.documents = self.marks.documents, set()
            for digest in await self.pace.sort(list(documents - self._named_as_documents)):
                self._named_as_documents.add(digest)
                self.pace.count()
                await self.pace.pause()
                if not await self._documents.check(digest, self.pace):
                    self.warnings.add(f"blob {digest}: a malformed document, so it keeps nothing")

    async def _follow(self, change: Change) -> None:
        if change.kind == "name":
            await self._add(self._of_name(change.key))
        elif change.kind == "lease":
            await self._add(self._of_lease(change.key, change.digest))
        elif change.kind == "ingest":
            await self._add(self._of_ingest(change.key))
        elif change.digest is not None:
            await self._follow_blob(change.digest, is_fresh=change.kind == "stored")

    async def _follow_blob(self, digest: Digest, *, is_fresh: bool) -> None:
        await self._documents.read(digest, self.pace)
        if digest in self._named_as_documents:
            self._named_as_documents.remove(digest)
            self.marks.documents.add(digest)
        await self._add(self._of_labels(digest))
        for each in (digest, *self._documents.named_by(digest).subject):
            await self.marks.again(each)
            await self.spared.again(each)
        if is_fresh:
            self.fresh.add(digest)
            await self.spare(digest)

    async def spare(self, digest: Digest) -> None:
        """Keep a garbage blob and all blobs that it names."""
        await self.spared.add(Entry(None, (digest,)))

    def is_kept(self, digest: Digest) -> bool:
        """Return whether a blob stays: a root keeps it, or it is garbage that is spared."""
        return digest in self.marks or digest in self.spared

    def is_abandoned(self, ref: str) -> bool:
        """Return whether an ingest has reached the age, and neither a writer nor a lease holds it."""
        ingest = self._contents.ingests.get(ref)
        return (
            ingest is not None
            and self._ingest_age is not None
            and ingest.held_since is None
            and now_at_least() - ingest.updated_at >= self._ingest_age
            and not self._contents.leases.has_ingest(ref)
        )

    def _labels_of(self, digest: Digest) -> Labels:
        blob = self._contents.blobs.get(digest)
        return NO_LABELS if blob is None else blob.info.labels

    async def _add_unlinked(self, entry: Entry | None) -> None:
        if entry is not None:
            await self.marks.add(entry, link=False)

    async def _add(self, entry: Entry | None) -> None:
        if entry is not None:
            await self.marks.add(entry)

    def _of_name(self, name: str) -> Entry | None:
        image = self._contents.names.find(name)
        if image is None or has_passed(image.labels, f"image name {image.name}", self.warnings):
            return None
        root = Root(kind="image name", name=image.name, until=expiry_of(image.labels))
        return Entry(root, (image.target.digest,), is_document=is_document(image.target.media_type or ""))

    def _of_labels(self, digest: Digest) -> Entry | None:
        blob = self._contents.blobs.get(digest)
        if blob is None or not blob.info.labels.get(ROOT):
            return None
        labels = blob.info.labels
        if has_passed(labels, f"blob {digest}", self.warnings):
            return None
        return Entry(Root(kind="label", name=str(digest), until=expiry_of(labels)), (digest,))

    def _of_lease(self, lease: str, only: Digest | None = None) -> Entry | None:
        found = self._contents.leases.find(lease)
        if found is None:
            return None
        held, digests = found
        root = Root(kind="lease", name=held.id, until=held.expires_at)
        chosen = tuple(digests) if only is None else tuple({only} & digests)
        return Entry(root, chosen, is_flat=FLAT in held.labels)

    def _of_ingest(self, ref: str) -> Entry | None:
        self.pace.count(self._contents.leases.count())
        ingest = self._contents.ingests.get(ref)
        if ingest is None:
            return None
        if self.is_abandoned(ref):
            self.abandoned.add(ref)
            return None
        self.abandoned.discard(ref)
        return None if ingest.expected is None else Entry(Root(kind="ingest", name=ref), (ingest.expected,))


_REPORTED = 64
"""The number of blobs between two reports of progress."""
