"""Marks the blobs that roots keep, by the rules of `steelyard.collection`, for stores whose collector is written in Python."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from steelyard._archive._references import References
from steelyard._collecting.labels import EXPIRE, REFERENCE, expiry_of
from steelyard._collecting.pace import Pace
from steelyard.collection import Root
from steelyard.digest import Digest
from steelyard.errors import InvalidDigest
from steelyard.model import Labels

__all__ = (
    "Documents",
    "Entry",
    "Graph",
    "Marks",
    "Warnings",
    "has_passed",
    "now_at_least",
)

_MOST = 100
"""The most warnings of a collection."""

_STARTED = (datetime.now(UTC), time.monotonic())


def now_at_least() -> datetime:
    """Return the time (UTC), by the clock that is behind: a wall clock that jumps ahead has no effect."""
    wall, monotonic = _STARTED
    return min(datetime.now(UTC), wall + timedelta(seconds=time.monotonic() - monotonic))


class Warnings:
    """The warnings of a collection, each once."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def add(self, text: str) -> None:
        """Add a warning, unless there are too many."""
        if len(self._texts) < _MOST:
            self._texts[text] = None

    def all(self) -> tuple[str, ...]:
        """Return the warnings in the order in which they were found."""
        return tuple(self._texts)


def has_passed(labels: Labels, owner: str, warnings: Warnings) -> bool:
    """Return whether the time in the label ``gc.expire`` has passed. A malformed time never passes."""
    expires_at = expiry_of(labels)
    if expires_at is None and EXPIRE in labels:
        warnings.add(f"{owner}: label {EXPIRE}: not a time of RFC 3339, so it never passes: {labels[EXPIRE]!r}")
    return expires_at is not None and expires_at <= now_at_least()


class Entry(NamedTuple):
    """A root with the blobs that it names.

    Attributes:
        root: the root; None for garbage that stays.
        digests: the blobs.
        is_flat: whether it keeps only these blobs, and not the blobs that they name.
        is_document: whether the blobs are documents by their media types.
    """

    root: Root | None
    digests: Iterable[Digest]
    is_flat: bool = False
    is_document: bool = False


class Documents(Protocol):
    """The references of documents, including documents that are no longer stored."""

    def named_by(self, digest: Digest, /) -> References:
        """Return the references of a document."""

    def referrers_of(self, digest: Digest, /) -> Iterator[Digest]:
        """Yield the stored documents whose subject is `digest`."""


class Graph:
    """The references of blobs.

    Args:
        labels_of: returns the labels of a blob, or no labels if it is not stored.
        documents: the references of documents.
        warnings: collects the reports of malformed references.
    """

    def __init__(self, labels_of: Callable[[Digest], Labels], documents: Documents, warnings: Warnings) -> None:
        self._labels_of = labels_of
        self._documents = documents
        self._warnings = warnings

    def named_by(self, digest: Digest) -> Iterator[Digest]:
        """Yield the blobs that a blob names: in its document, as the subject of its document, and in its labels."""
        document = self._documents.named_by(digest)
        if document.invalid:
            self._warnings.add(f"blob {digest}: invalid digests that keep nothing: {document.invalid}")
        yield from document.blobs
        yield from document.subject
        for key, value in self._labels_of(digest).items():
            if key == REFERENCE or key.startswith((f"{REFERENCE}.", f"{REFERENCE}/")):
                try:
                    yield Digest.parse(value)
                except InvalidDigest:
                    self._warnings.add(f"blob {digest}: label {key}: not a digest, so it keeps nothing: {value!r}")

    def referrers_of(self, digest: Digest) -> Iterator[Digest]:
        """Yield the documents whose subject is `digest`: a kept blob keeps these, too."""
        return self._documents.referrers_of(digest)

    def documents_of(self, digest: Digest) -> frozenset[Digest]:
        """Return the blobs that a blob names with the media types of documents."""
        return self._documents.named_by(digest).documents


class Marks:
    """The kept blobs, each with the root and the blob that it was reached from.

    Add flat roots last, so that a blob counts for a root that also keeps the blobs that it names, if there is one. For the same
    reason call `link` after all roots are added: a document counts for a root that names it, before it counts for the root that keeps its
    subject.

    Args:
        graph: the references of the blobs.
        pace: the pace of the task.

    Attributes:
        documents: kept blobs with the media types of documents. The reader of this set removes the blobs that it has examined.
    """

    def __init__(self, graph: Graph, pace: Pace) -> None:
        self._graph = graph
        self._pace = pace
        self._reached: dict[Digest, tuple[Root | None, Digest | None]] = {}
        self._flat: set[Digest] = set()
        self._unlinked: deque[Digest] = deque()  # kept blobs whose referrers are not kept yet
        self.documents: set[Digest] = set()

    async def add(self, entry: Entry, *, link: bool = True) -> None:
        """Keep the blobs that a root names and, unless the root is flat, all blobs that these name.

        With ``link=False``, call `link` before the marks are used.
        """
        new = []
        async for digest in self._pace.each(entry.digests):
            if entry.is_document:
                self.documents.add(digest)
            if entry.is_flat and digest not in self._reached:
                self._reached[digest] = (entry.root, None)
                self._flat.add(digest)
            elif not entry.is_flat and self._reach(digest, entry.root, None):
                new.append(digest)
        await self._follow(entry.root, new)
        if link:
            await self.link()

    async def link(self) -> None:
        """Keep the documents whose subjects are kept, and all blobs that these documents name."""
        while self._unlinked:
            self._pace.count()
            await self._pace.pause()
            if not self._unlinked:  # another call has linked them meanwhile
                return
            digest = self._unlinked.popleft()
            root, _ = self._reached[digest]
            referrers = self._pace.each(self._graph.referrers_of(digest))
            await self._follow(root, [each async for each in referrers if self._reach(each, root, digest)])

    async def again(self, digest: Digest) -> None:
        """Follow the references of a blob again, if it is kept: the blob has changed, or was not stored before."""
        if digest in self._reached and digest not in self._flat:
            await self._follow(self._reached[digest][0], [digest])
            await self.link()

    async def _follow(self, root: Root | None, level: list[Digest]) -> None:
        while level:  # level by level, so that chains are short
            named: list[Digest] = []
            async for digest in self._pace.each(level):
                self.documents |= self._graph.documents_of(digest)
                self._unlinked.append(digest)
                kept = self._pace.each(self._graph.named_by(digest))
                named += [each async for each in kept if self._reach(each, root, digest)]
            level = named

    def _reach(self, digest: Digest, root: Root | None, parent: Digest | None) -> bool:
        """Keep a blob, and return whether its references must be followed now."""
        if digest in self._reached and digest not in self._flat:
            return False
        self._flat.discard(digest)  # from now on, the blobs that it names are kept, too
        self._reached[digest] = (root, parent)
        return True

    def __contains__(self, digest: object) -> bool:
        return digest in self._reached

    def root_of(self, digest: Digest) -> Root | None:
        """Return the first root that keeps a blob, or None for garbage."""
        found = self._reached.get(digest)
        return None if found is None else found[0]

    def chain_to(self, digest: Digest) -> tuple[Digest, ...]:
        """Return the chain of blobs from the one that the root names to this one; an empty chain for garbage."""
        chain: list[Digest] = []
        current: Digest | None = digest if digest in self._reached else None
        while current is not None:
            chain.append(current)
            current = self._reached[current][1]
        return tuple(reversed(chain))
