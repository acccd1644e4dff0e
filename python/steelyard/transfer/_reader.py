"""`BaseReader`: the convenience methods of a reader, built on its `read_at`."""

from __future__ import annotations

import anyio
from anyio import ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream

from steelyard._runtime.buffers import view
from steelyard.content import ReaderAt
from steelyard.errors import DataCorrupt
from steelyard.hashing import Hasher
from steelyard.model import Buffer
from steelyard.transfer._source import hash_piece

__all__ = ("BaseReader",)


class BaseReader(ReaderAt):
    """A reader with `readinto_at` and `stream`; a subclass implements `digest`, `size`, `read_at` and `aclose`."""

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read a range into the caller's memory, unverified; return the bytes read."""
        target = view(buffer)
        if target.readonly:
            raise BufferError("expected a writable buffer")
        data = await self.read_at(offset, len(target))
        target[: len(data)] = data
        return len(data)

    def stream(self) -> ByteReceiveStream:
        """Return a stream of the whole blob, verified at its end."""
        return _BlobStream(self)


class _BlobStream(ByteReceiveStream):
    """Reads chunk by chunk and hashes each chunk. It reads past the size, so it detects a blob that is too long."""

    def __init__(self, reader: ReaderAt) -> None:
        self._reader = reader
        self._hasher = Hasher(reader.digest.algorithm)
        self._offset = 0
        self._closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if max_bytes <= 0:  # no bytes would count as the end
            raise ValueError("max_bytes must be positive")
        if self._closed:
            raise ClosedResourceError
        piece = await self._reader.read_at(self._offset, max_bytes)
        if piece:
            self._hasher = await hash_piece(self._hasher, piece)
            self._offset += len(piece)
            return piece
        found = self._hasher.digest()
        if found != self._reader.digest:
            raise DataCorrupt(self._reader.digest, expected=self._reader.digest, actual=found)
        raise EndOfStream

    async def aclose(self) -> None:
        self._closed = True
        await anyio.lowlevel.checkpoint()
