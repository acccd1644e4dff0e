"""A reader for bytes in memory."""

from __future__ import annotations

from anyio import ClosedResourceError
from anyio.lowlevel import checkpoint

from steelyard.digest import Digest
from steelyard.options import check_range
from steelyard.transfer._reader import BaseReader

__all__ = ("MemoryReader",)


class MemoryReader(BaseReader):
    """Reads bytes in memory as a blob. It holds the bytes, so it can be used after the blob is deleted.

    Args:
        digest: the blob's name.
        data: its bytes, which are not checked.
    """

    def __init__(self, digest: Digest, data: bytes) -> None:
        self._digest = digest
        self._data = data
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
        size = check_range(self._digest, len(self._data), offset, size)
        return self._data[offset : offset + size]

    async def aclose(self) -> None:
        self._closed = True
        await checkpoint()
