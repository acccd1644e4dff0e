"""Verification: read blobs again and compare them with their digests."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard import _native
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, NotFound
from steelyard.local.blocking._blob import compare
from steelyard.local.blocking._store import BlockingStore

__all__ = ("BlobCheck", "check_many")


class BlobCheck:
    """The verification of one blob of any size.

    Attributes:
        job: counts the bytes, and ends the call early when it is cancelled.
        size: the blob's size; None until it is known.
    """

    def __init__(self, store: BlockingStore, digest: Digest) -> None:
        self.job = _native.Job()
        self.size: int | None = None
        self._store = store
        self._digest = digest

    def run(self) -> Exception | None:
        """Read the blob and return the error if it is damaged, else None. It blocks."""
        hasher = _native.Hasher([self._digest.algorithm.value])
        try:
            blob = self._store.inspect(self._digest)
        except NotFound as missing:
            return missing
        try:
            self.size = blob.size
            blob.native.hash(hasher, self.job)
        except DataCorrupt as cut:  # the file is shorter than when it was opened
            return cut
        finally:
            blob.close()
        return compare(self._digest, *hasher.encoded())


def check_many(
    store: BlockingStore, digests: Sequence[Digest], job: _native.Job
) -> list[tuple[int | None, Exception | None]]:
    """Read blobs in parallel. Return for each, in order, its size, or None if it could not be read, and its error, or None."""
    results = store.native.hash_many([str(digest) for digest in digests], job)
    checked: list[tuple[int | None, Exception | None]] = []
    for digest, result in zip(digests, results, strict=True):
        if isinstance(result, tuple):
            size, encoded = result
            checked.append((size, compare(digest, encoded)))
        else:
            checked.append((None, result))
    return checked
