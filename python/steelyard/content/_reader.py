"""The interface of a reader."""

from __future__ import annotations

import io
from abc import abstractmethod

from anyio import ClosedResourceError, EndOfStream
from anyio.abc import AsyncResource, ByteReceiveStream
from anyio.lowlevel import checkpoint

from steelyard.digest import Digest
from steelyard.model import Buffer

__all__ = ("ReaderAt",)


class ReaderAt(AsyncResource):
    """Random reads and a verified stream of one blob. An async context manager; `aclose` releases it.

    An open reader can still read the blob after it is deleted. After `aclose`, reads raise `anyio.ClosedResourceError`,
    as a closed stream does. Several tasks may use a reader at the same time; one task at a time may use a stream.
    """

    @property
    @abstractmethod
    def digest(self) -> Digest:
        """The blob's name."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The blob's length in bytes."""

    @abstractmethod
    async def read_at(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset`, **unverified**: the digest of a blob cannot prove a part of it.

        Returns:
            Exactly `size` bytes, or fewer at the end of the blob.

        Raises:
            OutOfRange: `offset` is past the end.
            InvalidArgument: `offset` or `size` is negative.
            DataCorrupt: the stored blob ends before its size.
        """

    @abstractmethod
    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read a range into the caller's memory, **unverified**; return the bytes read.

        `buffer` is writable, one-dimensional and contiguous, with items of one byte. Do not use it until the call
        returns. Raises the same errors as `read_at`.
        """

    @abstractmethod
    def stream(self) -> ByteReceiveStream:
        """Return a stream of the whole blob that raises `anyio.EndOfStream` only if all bytes match the digest.

        Earlier bytes are provisional: only the end of the stream proves them. If the blob is damaged, too
        short or too long, the stream raises DataCorrupt in place of EndOfStream. Closing the stream does not close the reader.
        """

    def read_from(self, offset: int = 0) -> ByteReceiveStream:
        """Return a stream of the bytes from `offset` to the end, **unverified**. Closing it does not close the reader.

        Raises (from its `receive`): the same errors as `read_at`. A reader that reads from a server reads ahead.
        """
        return _Bytes(self, offset)

    def fileno(self) -> int:
        """Return the descriptor of the blob's file, for example for `sendfile`. It closes with the reader.

        Raises:
            io.UnsupportedOperation: the blob has no file.
        """
        raise io.UnsupportedOperation("fileno")

    @abstractmethod
    async def aclose(self) -> None:
        """Release the reader. A second call does nothing."""


class _Bytes(ByteReceiveStream):
    """Reads one piece after another."""

    def __init__(self, reader: ReaderAt, offset: int) -> None:
        self._reader = reader
        self._offset = offset
        self._closed = False

    async def receive(self, max_bytes: int = 1 << 20) -> bytes:
        if max_bytes <= 0:
            raise ValueError("max_bytes must be positive")
        if self._closed:
            raise ClosedResourceError
        piece = await self._reader.read_at(self._offset, max_bytes)
        if not piece:
            raise EndOfStream
        self._offset += len(piece)
        return piece

    async def aclose(self) -> None:
        self._closed = True
        await checkpoint()
