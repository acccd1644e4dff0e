"""Reading a remote blob: in ranges, as a verified stream, or whole in one call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio
from anyio import ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from steelyard._native import join_bytes
from steelyard._runtime import calls
from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.buffers import view
from steelyard._runtime.fork import ProcessBound
from steelyard.containerd.remote._calls import Asked, Limits
from steelyard.containerd.remote._channel import Connection
from steelyard.containerd.remote._errors import About
from steelyard.containerd.remote._messages import method
from steelyard.content import ReaderAt
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt
from steelyard.hashing import Hasher
from steelyard.model import Buffer, Descriptor
from steelyard.options import check_range

__all__ = ("RemoteReader", "read_whole")

_READ = method("Content", "Read")

_BATCH = 1 << 20
"""The bytes that are taken at a time. A thread takes and hashes the next batch while the caller uses this one."""

_INLINE = 32 << 10
"""The most bytes that are copied and hashed on the event loop."""


class RemoteReader(ProcessBound, ReaderAt):
    """A blob behind a server. The reader holds nothing at the server: after the blob was deleted, reads raise NotFound."""

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
        pieces: list[bytes] = []
        await self._range(offset, size, pieces.append)
        return await _joined(pieces)

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read a range into the caller's memory, unverified; see `ReaderAt.readinto_at`."""
        with view(buffer) as target:
            if target.readonly:
                raise BufferError("expected a writable buffer")
            size = self._checked(offset, target.nbytes)
            if not size:
                await checkpoint()
                return 0
            place = 0

            def fill(piece: bytes) -> None:
                nonlocal place
                target[place : place + len(piece)] = piece
                place += len(piece)

            await self._range(offset, size, fill)
        return size

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

    async def _range(self, offset: int, size: int, consume: Callable[[bytes], object]) -> None:
        request = {"digest": str(self._digest), "offset": offset, "size": size}
        about = About(kind="blob", name=str(self._digest), call="Read", offset=offset, size=self._size)
        asked = Asked(self._connection.ask(_READ, request), about, self._connection, self._limits)
        left = size
        try:
            while piece := await _taken(asked, size, None):
                left -= len(piece)
                if left < 0:
                    raise _wrong_size(self._digest, offset, size, "more")
                consume(piece)
        finally:
            asked.native.cancel()
        if left:
            raise _wrong_size(self._digest, offset, size, f"{size - left} bytes")

    def _checked(self, offset: int, size: int) -> int:
        """Return the number of bytes that a range has in the blob."""
        if self._closed:
            raise ClosedResourceError
        return check_range(self._digest, self._size, offset, size)


class _RemoteStream(ProcessBound, ByteReceiveStream):
    """One Read of a blob, taken in batches on a thread. With a hasher, the thread also hashes them, and the digest is compared at the end."""

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
        self._left = size - offset
        self._hasher = hasher
        self._loads: _Loads | None = None
        self._piece = b""
        self._place = 0
        # A server refuses a Read that begins at the end.
        self._end: Exception | None = EndOfStream() if hasher is None and offset == size else None
        self._closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes, at most `max_bytes`.

        Raises:
            anyio.EndOfStream: the blob has ended and matches its digest.
            DataCorrupt: the blob does not match, or the server sends more or fewer bytes than the blob has. It is raised in place of the end,
                and again by every further call.
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
        piece = self._piece[self._place : self._place + max_bytes]
        self._place += len(piece)
        return piece

    async def aclose(self) -> None:
        """End the stream; the reader stays open."""
        self._closed = True
        self._piece, self._place = b"", 0
        loads, self._loads = self._loads, None
        if loads is not None:
            await loads.aclose()
        await checkpoint()

    async def _next(self) -> bytes:
        if self._loads is None:
            about = About(kind="blob", name=str(self._digest), call="Read", offset=self._offset, size=self._size)
            request = {"digest": str(self._digest), "offset": self._offset}
            self._loads = _Loads(self._connection, request, about, self._limits, self._hasher)
        piece = await self._loads.next()
        self._left -= len(piece)
        if not piece or self._left < 0:
            self._end = self._verdict()
            raise self._end
        return piece

    def _verdict(self) -> Exception:
        size = self._size - self._offset
        if self._left < 0:
            return _wrong_size(self._digest, self._offset, size, "more")
        if self._hasher is not None:
            return _differs(self._digest, self._hasher) or EndOfStream()
        if self._left:
            return _wrong_size(self._digest, self._offset, size, f"{size - self._left} bytes")
        return EndOfStream()


class _Loads(ProcessBound):
    """The data of a Read in batches. A thread waits for the next batch and hashes it while the caller uses the last one."""

    @uninterrupted
    def __init__(
        self, connection: Connection, request: dict[str, Any], about: About, limits: Limits, hasher: Hasher | None
    ) -> None:
        self._idle = limits.idle_timeout
        self._hasher = None if hasher is None else hasher._native  # noqa: SLF001  # given to native code
        self._asked = Asked(connection.ask(_READ, request), about, connection, limits)
        self._call = self._asked.native
        self._loading = self._load()

    async def next(self) -> bytes:
        """Return the next batch, which is empty at the end.

        Raises:
            SteelyardError: by `error_of`, and again by every further call.

        Cancellation:
            No effect.
        """
        batch = await self._loaded()
        if batch:
            self._loading = self._load()
        else:
            self._asked.check_end()
        return batch

    async def aclose(self) -> None:
        """End the call; its thread has ended when this returns."""
        self._call.cancel()
        await self._loading.aclose()

    def _load(self) -> calls.BlockingCall[bytes]:
        return calls.start(self._call.load, _BATCH, self._hasher, end=self._call.cancel)

    async def _loaded(self) -> bytes:
        while True:
            seen = self._call.progress
            with anyio.move_on_after(self._idle):
                return await self._loading.result()
            if self._call.progress == seen and not self._loading.ended:
                await self._loading.aclose()
                raise self._asked.silent()


async def _taken(asked: Asked, most: int, hasher: Hasher | None) -> bytes:
    """Wait for data of a Read, and take and hash a batch. It is empty at the end."""
    call, wanted = asked.native, min(most, _BATCH)
    await asked.attend(wanted)
    native = None if hasher is None else hasher._native  # noqa: SLF001  # given to native code
    if call.held > _INLINE:
        return await calls.run(call.load, wanted, native)
    if call.held:
        return call.load(wanted, native)
    asked.check_end()
    return b""


async def _joined(pieces: list[bytes]) -> bytes:
    if len(pieces) == 1:
        return pieces[0]
    return await calls.run(join_bytes, pieces)


def _wrong_size(digest: Digest, offset: int, size: int, found: str) -> DataCorrupt:
    return DataCorrupt(digest, expected=f"{size} bytes from offset {offset}", actual=found)


def _differs(digest: Digest, hasher: Hasher) -> DataCorrupt | None:
    found = hasher.digest()
    return None if found == digest else DataCorrupt(digest, expected=digest, actual=found)


async def read_whole(connection: Connection, limits: Limits, blob: Descriptor) -> bytes:
    """Return a whole blob, verified, by one call to the server.

    Raises:
        NotFound: the blob is not stored.
        DataCorrupt: the bytes do not match the digest or the size. They are not returned.
    """
    digest, left = blob.digest, math.inf if blob.size is None else blob.size
    hasher = Hasher(digest.algorithm)
    pieces = []
    about = About(kind="blob", name=str(digest), call="Read")
    asked = Asked(connection.ask(_READ, {"digest": str(digest)}), about, connection, limits)
    try:
        while piece := await _taken(asked, _BATCH, hasher):
            left -= len(piece)
            if left < 0:
                raise DataCorrupt(digest, expected=f"{blob.size} bytes", actual="more")
            pieces.append(piece)
    finally:
        asked.native.cancel()
    blob.check_size(sum(map(len, pieces)))
    failure = _differs(digest, hasher)
    if failure is not None:
        raise failure
    return await _joined(pieces)
