"""An open blob."""

from __future__ import annotations

import os
import time

from steelyard import _native
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt
from steelyard.options import check_range

__all__ = ("BlockingBlob", "compare")


class BlockingBlob(ProcessBound):
    """An open blob. Its descriptor stays valid when the blob is deleted.

    Attributes:
        digest: the blob's name.
        native: the core's handle.
    """

    def __init__(self, digest: Digest, native: _native.Blob) -> None:
        self.digest = digest
        self.native = native

    @property
    def size(self) -> int:
        """The length of the blob's file in bytes."""
        return self.native.size

    def read_at(self, offset: int, size: int, job: _native.Job | None = None) -> bytes:
        """Read a range, unverified; see `ReaderAt.read_at`. A cancelled job ends the call early."""
        return self.native.read_at(offset, self.within(offset, size), job or _native.Job())

    def read(self, job: _native.Job | None = None) -> tuple[bytes, DataCorrupt | None]:
        """Return all bytes and, if they do not match the digest, the error. A cancelled job ends the call early."""
        hasher = _native.Hasher([self.digest.algorithm.value])
        return self.native.read_and_hash(hasher, job or _native.Job()), compare(self.digest, *hasher.encoded())

    def read_cached(self, limit: int) -> tuple[bytes, DataCorrupt | None] | None:
        """Return the bytes as `read` does if there are at most `limit` and all are in the page cache, else None."""
        if self.size > limit or (data := self.native.read_cached(0, self.size)) is None:
            return None
        hasher = _native.Hasher([self.digest.algorithm.value])
        hasher.update(data)
        return data, compare(self.digest, *hasher.encoded())

    def used_ns(self) -> int:
        """Return when the blob was last used, as far as that is recorded, in nanoseconds since 1970.

        `BlockingStore.blob` counts as a use; `inspect` does not.
        """
        found = os.fstat(self.native.fileno())
        # The rule of rust/core/src/volume/access_time.rs.
        return min(max(found.st_atime_ns, found.st_mtime_ns), time.time_ns())

    def within(self, offset: int, size: int) -> int:
        """Return how many bytes of the range the blob has.

        Raises:
            InvalidArgument, OutOfRange: see `ReaderAt.read_at`.
        """
        return check_range(self.digest, self.size, offset, size)

    def close(self) -> None:
        """Close the blob's file; may be called twice."""
        self.native.close()


def compare(digest: Digest, encoded: str) -> DataCorrupt | None:
    """Return the error if the hash differs from that of `digest`, or None if both are the same."""
    if encoded == digest.encoded:
        return None
    return DataCorrupt(digest, expected=digest, actual=f"{digest.algorithm}:{encoded}")
