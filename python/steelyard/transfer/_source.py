"""One interface for all kinds of sources: pieces of at most 1 MiB, in order, from any offset if the source allows it."""

from __future__ import annotations

import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from anyio import EndOfStream
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from steelyard._runtime.backend import interruptible
from steelyard._runtime.buffers import view
from steelyard._runtime.calls import run, run_always
from steelyard._runtime.files import at_once
from steelyard._runtime.iteration import next_item
from steelyard._runtime.pipes import readable
from steelyard._runtime.scopes import managed
from steelyard.content import ReaderAt
from steelyard.digest import Algorithm, Digest
from steelyard.errors import OutOfRange
from steelyard.hashing import Hasher
from steelyard.model import Buffer, FileRange, Source
from steelyard.options import path_error

__all__ = ("READ_BYTES", "BlobPieces", "FilePieces", "Pieces", "RangePieces", "hash_piece", "opened")

READ_BYTES = 1 << 20
"""The most bytes that are read or written at once. A transfer holds about as many in memory."""

_INLINE = 64 << 10


async def hash_piece(hasher: Hasher, piece: Buffer) -> Hasher:
    """Return a hasher that has also hashed the piece. A piece for which that takes longer than a hop is hashed on another thread.

    Cancellation:
        The given hasher has not hashed the piece.
    """
    if len(memoryview(piece)) <= _INLINE:
        hasher.update(piece)
        return hasher
    # CANCEL: asyncio's own cancellation may replace the result of a call that has run, so the call changes a copy.
    longer = hasher.copy()
    await run(longer.update, piece)
    return longer


class Pieces(ABC):
    """An open source.

    Attributes:
        size: the bytes from the position at which it was opened to its end, or None if unknown.
        seekable: whether `seek` can go to any offset up to `size`, without reading the bytes before it.
    """

    size: int | None = None
    seekable: bool = False
    _rest = memoryview(b"")

    async def read(self, most: int = READ_BYTES) -> memoryview:
        """Return the next piece, of at most `most` bytes; it is empty only at the end."""
        if self._rest:
            await checkpoint()
        else:
            self._rest = await self._next()
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece

    async def skip(self, size: int, algorithm: Algorithm) -> Digest:
        """Read and drop the next `size` bytes, or fewer if the source ends, and return their digest."""
        hasher = Hasher(algorithm)
        while size and (piece := await self.read(min(size, READ_BYTES))):
            hasher = await hash_piece(hasher, piece)
            size -= len(piece)
        return hasher.digest()

    @abstractmethod
    async def _next(self) -> memoryview:
        """Return the next bytes of the source, in any number; empty only at the end."""

    @abstractmethod
    async def seek(self, offset: int) -> bool:
        """Continue from `offset`, or return False if the source cannot. A source that is not seekable may still restart at 0."""

    async def aclose(self) -> None:  # noqa: B027  # most sources hold nothing
        """Release the objects that were opened for the source, but none that the caller owns."""


class BytesPieces(Pieces):
    """Pieces of a bytes-like object, without a copy."""

    seekable = True

    def __init__(self, data: Buffer) -> None:
        self._data = self._rest = view(data)
        self.size = len(self._data)

    async def _next(self) -> memoryview:
        await checkpoint()
        return self._rest

    async def seek(self, offset: int) -> bool:
        self._rest = self._data[offset:]
        return True


class FilePieces(Pieces):
    """Pieces of a binary file, from its current position, read on worker threads."""

    def __init__(self, file: BinaryIO, *, owned: bool = False) -> None:
        self._file = file
        self._owned = owned
        self._start = 0
        self._waits = True
        # A pipe delivers few bytes at a time. `read1` returns the bytes that are there; `read` waits for a whole piece.
        self._read: Callable[[int], object] = getattr(file, "read1", file.read)

    async def measure(self) -> None:
        """Find out whether the file has a size and can be positioned."""
        self.seekable, self._start, self.size = await run(_measure, self._file)
        if self.seekable:
            self._read, self._waits = self._file.read, False

    async def _next(self) -> memoryview:
        if self._waits:
            # A read on a worker thread cannot be cancelled, so the wait for a pipe or terminal without data happens here.
            self._waits = await readable(self._file)
        data = await run(self._read, READ_BYTES)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"the file returned {type(data).__name__} instead of bytes: open it in binary mode")
        return view(data)

    def place(self) -> tuple[int, int] | None:
        """Return the descriptor of a regular file and the offset at which the source begins, or None for any other file."""
        if not self.seekable:
            return None
        file = self._file
        # A buffered reader may wrap any raw file, for example a decompressor, whose descriptor gives other bytes.
        raw = file.raw if isinstance(file, io.BufferedReader) else file
        if not isinstance(raw, io.FileIO) or not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            return None
        return raw.fileno(), self._start

    async def seek(self, offset: int) -> bool:
        if self.seekable:
            await run(self._file.seek, self._start + offset)
            self._rest = memoryview(b"")
        return self.seekable

    async def aclose(self) -> None:
        if self._owned:
            await run_always(self._file.close)


def _measure(file: BinaryIO) -> tuple[bool, int, int | None]:
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        return False, 0, None
    start = file.tell()
    try:
        end = file.seek(0, os.SEEK_END)
    except (OSError, ValueError):
        return False, 0, None  # a compressed file can be positioned, but does not know its end
    file.seek(start)
    return True, start, max(0, end - start)


class RangePieces(Pieces):
    """Pieces of a part of a file."""

    seekable = True

    def __init__(self, source: FileRange) -> None:
        self._source = source
        self._offset = 0
        self.size = source.size

    async def _next(self) -> memoryview:
        source = self._source
        left = source.size - self._offset
        if not left:
            await checkpoint()
            return memoryview(b"")
        data = await run(os.pread, source.file, min(left, READ_BYTES), source.offset + self._offset)
        if not data:
            raise OutOfRange("file range", offset=source.offset + source.size, size=source.offset + self._offset)
        self._offset += len(data)
        return memoryview(data)

    def place(self) -> tuple[int, int]:
        """Return the descriptor of the file and the offset at which the source begins."""
        return self._source.file, self._source.offset

    async def seek(self, offset: int) -> bool:
        self._offset, self._rest = offset, memoryview(b"")
        return True


class IterablePieces(Pieces):
    """Pieces of an iterable or async iterable of buffers. A buffer longer than a piece is split, an empty one is skipped."""

    def __init__(self, source: Iterable[Buffer] | AsyncIterable[Buffer]) -> None:
        self._source = source
        self._iterator = _iterate(source)

    async def _next(self) -> memoryview:
        data = memoryview(b"")
        while not data:
            try:
                item = await self._item()
            except StopAsyncIteration:
                break
            data = view(item)
        return data

    @interruptible
    async def _item(self) -> Buffer:
        if isinstance(self._iterator, AsyncIterator):
            return await next_item(self._iterator)
        await checkpoint()
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None

    async def seek(self, offset: int) -> bool:
        again = _iterate(self._source)
        if offset or again is self._iterator:
            return False
        await self.aclose()
        self._iterator, self._rest = again, memoryview(b"")
        return True

    async def aclose(self) -> None:
        # If the iterator is the source itself, the caller owns it. An iterator that was created here is closed here.
        close = getattr(self._iterator, "aclose", None)
        if close is not None and self._iterator is not self._source:
            await close()


def _iterate(source: Iterable[Buffer] | AsyncIterable[Buffer]) -> Iterator[Buffer] | AsyncIterator[Buffer]:
    return aiter(source) if isinstance(source, AsyncIterable) else iter(source)


class BlobPieces(Pieces):
    """Pieces of a stored blob, **unverified**: the consumer checks the digest of all bytes."""

    seekable = True

    def __init__(self, reader: ReaderAt) -> None:
        self._reader = reader
        self._stream: ByteReceiveStream | None = None
        self._offset = 0
        self.size = reader.size

    async def _next(self) -> memoryview:
        if self._stream is None:
            self._stream = self._reader.read_from(self._offset)
        try:
            return memoryview(await self._stream.receive(READ_BYTES))
        except EndOfStream:
            return memoryview(b"")

    async def seek(self, offset: int) -> bool:
        await self.aclose()
        self._offset, self._rest = offset, memoryview(b"")
        return True

    async def aclose(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()


@managed
async def opened(source: Source) -> AsyncIterator[Pieces]:
    """Open a source of any kind. On exit, a file that was opened by its path is closed, but no object that the caller owns.

    Raises:
        TypeError: the object is not a source.
        OSError: the file cannot be opened.
    """
    pieces = await _open(source)
    try:
        yield pieces
    finally:
        await pieces.aclose()


async def _open(source: Source) -> Pieces:
    if isinstance(source, str | os.PathLike):
        try:
            file = await run(partial(open, Path(source), "rb", opener=at_once))
        except (OSError, ValueError) as error:
            raise path_error(source, error) from None
        return await _measured(FilePieces(cast("BinaryIO", file), owned=True))
    if isinstance(source, FileRange):
        return RangePieces(source)
    try:
        return BytesPieces(cast("Buffer", source))
    except TypeError:
        pass
    if hasattr(source, "read") and not isinstance(source, AsyncIterable):
        return await _measured(FilePieces(cast("BinaryIO", source)))
    if isinstance(source, Iterable | AsyncIterable):
        return IterablePieces(cast("Iterable[Buffer] | AsyncIterable[Buffer]", source))
    raise TypeError(f"expected a buffer, a path, a binary file or an iterable of buffers, not {type(source).__name__}")


async def _measured(pieces: FilePieces) -> FilePieces:
    try:
        await pieces.measure()
    except BaseException:
        await pieces.aclose()
        raise
    return pieces
