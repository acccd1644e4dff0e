"""Marks the blobs in a bucket that roots keep, from listings, and follows the notes that writers make meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from steelyard._archive._references import is_document
from steelyard._collecting.labels import FLAT, ROOT, expiry_of
from steelyard._collecting.marks import Entry, Graph, Marks, Warnings, has_passed
from steelyard._collecting.pace import Pace
from steelyard.collection import Root
from steelyard.digest import Digest
from steelyard.errors import NotFound
from steelyard.model import NO_LABELS, Image, Info, Labels, Status
from steelyard.objects._blobs import Blobs
from steelyard.objects._documents import Documents
from steelyard.objects._leases import HeldLease
from steelyard.objects._requests import Requests
from steelyard.objects._watch import Note

__all__ = ("Marking", "Roots", "Stored")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_REPORTED = 1000
"""The number of blobs after which progress is reported."""


class Stored(NamedTuple):
    """A blob in a listing.

    Attributes:
        size: its size, in bytes.
        modified_ns: when it was written, by the server's clock.
    """

    size: int
    modified_ns: int


class Roots(NamedTuple):
    """The roots of a store.

    Attributes:
        names: the image names.
        leases: the leases that last.
        ingests: the ingests of this spool that are not abandoned.
    """

    names: Iterable[Image]
    leases: Iterable[HeldLease]
    ingests: Iterable[Status]


class Marking:
    """The marks of one collection, or of one call of `reasons`.

    Args:
        requests: the server.
        blobs: the blobs of the store.

    Attributes:
        stored: the blobs that were listed.
        marks: the blobs that roots keep.
        spared: garbage that stays, with the blobs that it names.
        relied_on: the blobs that writers have noted since the start.
    """

    def __init__(self, requests: Requests, blobs: Blobs) -> None:
        self._blobs = blobs
        self._labels: dict[Digest, Labels] = {}
        self.relied_on: set[Digest] = set()
        self._checked: set[Digest] = set()
        self.stored: dict[Digest, Stored] = {}
        self.documents = Documents(requests, lambda digest: digest in self.stored or digest in self.relied_on)
        self.pace = Pace()
        self.warnings = Warnings()
        self.graph = Graph(lambda digest: self._labels.get(digest, NO_LABELS), self.documents, self.warnings)
        self.marks = Marks(self.graph, self.pace)
        self.spared = Marks(self.graph, self.pace)

    async def load(self, on_read: Callable[[int], object]) -> None:
        """List the blobs, with their labels and references."""
        async for info in self._blobs.walk(()):
            self._add_blob(info)
            if not len(self.stored) % _REPORTED:
                on_read(len(self.stored))
        await self.documents.load()
        on_read(len(self.stored))

    def _add_blob(self, info: Info) -> None:
        assert info.created_at is not None  # noqa: S101  # the server reports it
        modified_ns = (info.created_at - _EPOCH) // _MICROSECOND * 1000
        self.stored[info.digest] = Stored(info.size, modified_ns)
        if info.labels:
            self._labels[info.digest] = info.labels

    async def mark(self, roots: Roots) -> None:
        """Mark the blobs that roots keep; raises what `Documents.check` raises."""
        for image in roots.names:
            if not has_passed(image.labels, f"image name {image.name}", self.warnings):
                root = Root(kind="image name", name=image.name, until=expiry_of(image.labels))
                is_one = is_document(image.target.media_type or "")
                await self.marks.add(Entry(root, (image.target.digest,), is_document=is_one), link=False)
        for digest, labels in sorted(self._labels.items()):
            await self._add_labelled(digest, labels)
        for lease in sorted(roots.leases, key=lambda lease: (FLAT in lease.value.labels, lease.value.id)):
            root = Root(kind="lease", name=lease.value.id, until=lease.value.expires_at)
            if FLAT not in lease.value.labels:
                await self.marks.add(Entry(root, sorted(lease.digests)), link=False)
        for ingest in roots.ingests:
            if ingest.expected is not None:
                await self.marks.add(Entry(Root(kind="ingest", name=ingest.ref), (ingest.expected,)), link=False)
        for lease in roots.leases:
            if FLAT in lease.value.labels:
                root = Root(kind="lease", name=lease.value.id, until=lease.value.expires_at)
                await self.marks.add(Entry(root, sorted(lease.digests), is_flat=True), link=False)
        await self.marks.link()
        await self._check()

    async def _add_labelled(self, digest: Digest, labels: Labels) -> None:
        if labels.get(ROOT) and not has_passed(labels, f"blob {digest}", self.warnings):
            root = Root(kind="label", name=str(digest), until=expiry_of(labels))
            await self.marks.add(Entry(root, (digest,)), link=False)

    async def follow(self, notes: Iterable[Note]) -> None:
        """Spare the blobs that writers have noted since the start, and the blobs that these name."""
        for note in notes:
            digest = Digest.parse(note.digest)
            self.relied_on.add(digest)
            await self.documents.read([digest])
            if note.kind == "labels":
                await self._follow_labels(digest)
            for each in (digest, *self.documents.named_by(digest).subject):
                await self.marks.again(each)
                await self.spared.again(each)
            if note.kind != "labels" or self._labels.get(digest, NO_LABELS).get(ROOT):
                await self.spare(digest)
        await self._check()

    async def _follow_labels(self, digest: Digest) -> None:
        try:
            info = await self._blobs.info(digest)
        except NotFound:
            return
        # A label that was removed still keeps its blob: the reference that replaces it may not be noted yet.
        self._labels[digest] = Labels({**self._labels.get(digest, NO_LABELS), **info.labels})

    async def spare(self, digest: Digest) -> None:
        """Keep a blob of garbage, and the blobs that it names."""
        await self.spared.add(Entry(None, (digest,)))

    def has_labels(self, digest: Digest) -> bool:
        """Return whether a blob has labels."""
        return digest in self._labels

    def is_kept(self, digest: Digest) -> bool:
        """Return whether a blob stays, because of a root or because it is spared."""
        return digest in self.marks or digest in self.spared

    async def _check(self) -> None:
        """Check the kept blobs that have the media type of a document."""
        while self.marks.documents:
            documents, self.marks.documents = self.marks.documents - self._checked, set()
            for digest in sorted(documents & self.stored.keys()):
                self._checked.add(digest)
                is_known = self.documents.is_known(digest)
                if not await self.documents.check(digest, self.stored[digest].size):
                    self.warnings.add(f"blob {digest}: malformed document, so it keeps no other blobs")
                if not is_known:
                    await self.marks.again(digest)
