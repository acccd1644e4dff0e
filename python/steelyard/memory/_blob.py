"""A committed blob in memory, and its reader."""

from __future__ import annotations

from anyio import ClosedResourceError
from anyio.lowlevel import checkpoint

from steelyard.base import BaseReader
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, OutOfRange
from steelyard.model import Info

__all__ = ("Blob", "MemoryReader")


class Blob:
    """A committed blob. Its `data` may differ from what its `info` says: that is damage."""

    def __init__(self, data: bytes, info: Info) -> None:
        self.data = data
        self.info = info

    def is_whole(self, size: int | None) -> bool:
        """Return whether the blob is what it should be as far as its size tells; `size` is the caller's, if known."""
        return len(self.data) == self.info.size and size in {None, self.info.size}


class MemoryReader(BaseReader):
    """A reader holds the bytes themselves, so deleting the blob does not end it."""

    def __init__(self, blob: Blob) -> None:
        self._digest = blob.info.digest
        self._data = blob.data
        self._closed = False

    @property
    def digest(self) -> Digest:
        return self._digest

    @property
    def size(self) -> int:
        return len(self._data)

    async def read_at(self, offset: int, size: int) -> bytes:
        await checkpoint()
        if self._closed:
            raise ClosedResourceError
        if offset < 0 or size < 0:
            raise InvalidArgument(f"offset and size: expected 0 or more, found {offset} and {size}")
        if offset > len(self._data):
            raise OutOfRange(str(self._digest), offset=offset, size=len(self._data))
        return self._data[offset : offset + size]

    async def aclose(self) -> None:
        self._closed = True
        await checkpoint()
