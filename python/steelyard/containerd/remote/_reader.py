"""Reading a remote blob: ranges, the verified stream, and a whole blob in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from anyio import ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from steelyard._runtime.buffers import view
from steelyard._runtime.fork import ProcessBound
from steelyard.containerd.remote._calls import Answers, Limits, collect
from steelyard.containerd.remote._channel import Connection, method
from steelyard.containerd.remote._errors import About
from steelyard.content import ReaderAt
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt
from steelyard.hashing import Hasher
from steelyard.model import Buffer
from steelyard.options import check_range

__all__ = ("RemoteReader", "read_whole")

_BATCH = 4 << 20
"""Bytes that a thread takes at a time for a stream; one such batch is read ahead of the one that is being received."""


class RemoteReader(ProcessBound, ReaderAt):
    """A blob behind a server. It holds nothing there: if the blob is deleted, reading ends with NotFound."""

    def __init__(self, connection: Connection, limits: Limits, digest: Digest, size: int) -> None:
        self._connection, self._limits = connection, limits
        self._digest, self._size = digest, size
        self._closed = False

    @property
    def digest(self) -> Digest:
        return self._digest

    @property
    def size(self) -> int:
        return self._size

    async def read_at(self, offset: int, size: int) -> bytes:
        """Read a range, unverified; see `ReaderAt.read_at`. One call to the server."""
        size = self._checked(offset, size)
        if not size:
            await checkpoint()
            return b""
        pieces = await self._range(offset, size, list)
        data = b"".join(pieces)
        return data if len(data) == size else self._short(offset, size, len(data))

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read a range into the caller's memory, unverified; see `ReaderAt.readinto_at`."""
        with view(buffer) as target:
            if target.readonly:
                raise BufferError("expected a writable buffer")
            size = self._checked(offset, target.nbytes)
            if not size:
                await checkpoint()
                return 0
            found = await self._range(offset, size, lambda pieces: _fill(target[:size], pieces))
        return size if found == size else self._short(offset, size, found)

    def stream(self) -> ByteReceiveStream:
        """Return the verified stream of the whole blob; see `ReaderAt.stream`. The first `receive` asks the server."""
        hasher = Hasher(self._digest.algorithm)
        return _RemoteStream(self._connection, self._limits, self._digest, self._size, hasher=hasher)

    def read_from(self, offset: int = 0) -> ByteReceiveStream:
        """Return a stream of the bytes from `offset`, unverified; see `ReaderAt.read_from`. The first `receive` asks the server."""
        self._checked(offset, 0)
        return _RemoteStream(self._connection, self._limits, self._digest, self._size, offset=offset)

    async def aclose(self) -> None:
        self._closed = True
        await checkpoint()

    async def _range(self, offset: int, size: int, consume: Callable[[Iterator[memoryview]], Any]) -> Any:
        called = method("Content", "Read")
        request = called.request(digest=str(self._digest), offset=offset, size=size)
        about = About(kind="blob", name=str(self._digest), call="Read", offset=offset, size=self._size)
        return await collect(
            self._connection,
            called,
            request,
            about,
            self._limits,
            consume=consume,
        )

    def _checked(self, offset: int, size: int) -> int:
        """Return how many bytes there are of a range."""
        if self._closed:
            raise ClosedResourceError
        return check_range(self._digest, self._size, offset, size)

    def _short(self, offset: int, size: int, found: int) -> Any:
        raise DataCorrupt(self._digest, expected=f"{size} bytes from offset {offset}", actual=f"{found} bytes")


def _fill(target: memoryview, pieces: Iterator[memoryview]) -> int:
    """Put the pieces one after the other into the target and return their length, which may be more."""
    place = 0
    for piece in pieces:
        room = max(0, len(target) - place)
        target[place : place + len(piece)] = piece[:room]
        place += len(piece)
    return place


class _RemoteStream(ProcessBound, ByteReceiveStream):
    """One Read of a blob, taken in batches on a thread; with a hasher they are hashed there, and the end is the proof."""

    def __init__(
        self,
        connection: Connection,
        limits: Limits,
        digest: Digest,
        size: int,
        *,
        offset: int = 0,
        hasher: Hasher | None = None,
    ) -> None:
        self._connection, self._limits = connection, limits
        self._digest, self._size = digest, size
        self._offset = offset
        self._hasher = hasher
        self._answers: Answers[list[memoryview]] | None = None
        self._batch: list[memoryview] = []
        self._piece = memoryview(b"")
        self._place = 0
        # A server refuses a Read from the end.
        self._end: Exception | None = EndOfStream() if hasher is None and offset == size else None
        self._closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes, at most `max_bytes`.

        Raises:
            anyio.EndOfStream: the blob has ended and matches its digest.
            DataCorrupt: it does not match; raised instead of the end, again on every further call.
        """
        if max_bytes <= 0:
            raise ValueError("max_bytes must be positive")
        if self._closed:
            raise ClosedResourceError
        await checkpoint()
        if self._place == len(self._piece):
            if self._end is not None:
                raise self._end
            self._piece, self._place = await self._next(), 0
        piece = bytes(self._piece[self._place : self._place + max_bytes])
        self._place += len(piece)
        return piece

    async def aclose(self) -> None:
        """End the stream; the reader stays open."""
        self._closed = True
        self._batch, self._piece, self._place = [], memoryview(b""), 0
        answers, self._answers = self._answers, None
        if answers is not None:
            await answers.aclose()
        await checkpoint()

    async def _next(self) -> memoryview:
        if not self._batch:
            if self._answers is None:
                called = method("Content", "Read")
                about = About(kind="blob", name=str(self._digest), call="Read", offset=self._offset, size=self._size)
                request = called.request(digest=str(self._digest), offset=self._offset)
                self._answers = Answers(self._connection, called, request, about, self._limits, take=self._take)
            self._batch = (await self._answers.next())[::-1]
            if not self._batch:
                self._end = self._verdict()
                raise self._end
        return self._batch.pop()

    def _take(self, answers: Iterator[memoryview]) -> list[memoryview]:
        """Take and hash a batch, in a thread."""
        batch, size = [], 0
        for data in answers:
            if data:
                if self._hasher is not None:
                    self._hasher.update(data)
                batch.append(data)
                size += len(data)
            if size >= _BATCH:
                break
        return batch

    def _verdict(self) -> Exception:
        failure = None if self._hasher is None else _differs(self._digest, self._hasher)
        return failure or EndOfStream()


def _differs(digest: Digest, hasher: Hasher) -> DataCorrupt | None:
    found = hasher.digest()
    return None if found == digest else DataCorrupt(digest, expected=digest, actual=found)


async def read_whole(connection: Connection, limits: Limits, digest: Digest) -> bytes:
    """Return a whole blob, verified, by one call to the server.

    Raises:
        NotFound: it is not stored.
        DataCorrupt: the bytes do not match; they are never returned.
    """

    def consume(answers: Iterator[memoryview]) -> tuple[bytes, DataCorrupt | None]:
        hasher = Hasher(digest.algorithm)
        pieces = []
        for data in answers:
            hasher.update(data)
            pieces.append(data)
        return b"".join(pieces), _differs(digest, hasher)

    called = method("Content", "Read")
    about = About(kind="blob", name=str(digest), call="Read")
    found, failure = await collect(
        connection, called, called.request(digest=str(digest)), about, limits, consume=consume
    )
    if failure is not None:
        raise failure
    return found
