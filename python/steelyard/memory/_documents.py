"""The references of the documents of a store in memory. Each document is read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from steelyard._archive._references import DOCUMENT_LIMIT, NOTHING, References, may_be_document, references_in
from steelyard._collecting.pace import Pace
from steelyard._runtime.calls import run
from steelyard.digest import Digest
from steelyard.errors import CollectionRefused, DataCorrupt
from steelyard.hashing import Hasher
from steelyard.memory._blob import Blob

__all__ = ("Documents",)

_INLINE = 64 << 10
"""The bytes of the largest document that is read in the event loop's thread."""

ValueT = TypeVar("ValueT")


class Documents:
    """The documents of a store that were read, including those that are no longer stored.

    Args:
        blobs: the blobs of the store.
    """

    def __init__(self, blobs: Mapping[Digest, Blob]) -> None:
        self._blobs = blobs
        self._known: dict[Digest, References] = {}
        self._referrers: dict[Digest, list[Digest]] = {}

    def named_by(self, digest: Digest) -> References:
        """Return the references of a document."""
        return self._known.get(digest, NOTHING)

    def referrers_of(self, digest: Digest) -> Iterator[Digest]:
        """Yield the stored documents whose subject is `digest`."""
        return (each for each in self._referrers.get(digest, ()) if each in self._blobs)

    async def read(self, digest: Digest, pace: Pace) -> None:
        """Read the references of a stored blob that may be a document, unless they are known.

        Raises:
            DataCorrupt: the blob is damaged.
        """
        blob = self._blobs.get(digest)
        if blob is None or digest in self._known or not may_be_document(blob.data):
            return
        named = await _run_on(blob.data, partial(_read, digest, blob.data), pace)
        if digest not in self._known:
            self._known[digest] = named
            for subject in named.subject:
                self._referrers.setdefault(subject, []).append(digest)

    async def check(self, digest: Digest, pace: Pace) -> bool:
        """Return whether a blob with the media type of a document is a well-formed one. A blob that is not stored counts as one.

        Raises:
            DataCorrupt: the blob is damaged.
            CollectionRefused: the blob is too large to be read, so its references are unknown.
        """
        blob = self._blobs.get(digest)
        if blob is None:
            return True
        if digest not in self._known:
            await _run_on(blob.data, partial(_verify, digest, blob.data), pace)
            if len(blob.data) > DOCUMENT_LIMIT:
                reason = f"blob {digest}: a document of {len(blob.data)} bytes, at most {DOCUMENT_LIMIT} are read"
                raise CollectionRefused("MemoryStore", cause="document", reason=reason)
        return digest in self._known and self._known[digest].is_whole

    def known(self) -> list[Digest]:
        """Return a copy of the digests of all documents that were read."""
        return list(self._known)

    def forget(self, digest: Digest) -> None:
        """Forget a document."""
        for subject in self._known.pop(digest).subject:
            left = [each for each in self._referrers.pop(subject, ()) if each != digest]
            if left:
                self._referrers[subject] = left


async def _run_on(data: bytes, function: Callable[[], ValueT], pace: Pace) -> ValueT:
    """Call a function that processes `data`: on another thread if `data` is large."""
    if len(data) > _INLINE:
        return await run(function)
    pace.count(len(data) >> 10)
    return function()


def _read(digest: Digest, data: bytes) -> References:
    _verify(digest, data)
    return references_in(data)


def _verify(digest: Digest, data: bytes) -> None:
    hasher = Hasher(digest.algorithm)
    hasher.update(data)
    if (found := hasher.digest()) != digest:
        raise DataCorrupt(digest, expected=digest, actual=found)
