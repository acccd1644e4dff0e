"""Reading blobs: random reads, and the stream that verifies."""

from __future__ import annotations

import anyio
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._bridge import PIECE, run
from steelyard._buffers import view
from steelyard._types import Buffer
from steelyard.content import ReaderAt
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidArgument, OutOfRange

__all__ = ("LocalReader", "VerifiedStream", "mismatch", "read_and_hash")

_CHUNK = 1 << 20


class LocalReader(ReaderAt):
    """An open blob of a `LocalStore`. Its descriptor stays valid when the blob is deleted meanwhile."""

    def __init__(self, digest: Digest, blob: _native.Blob) -> None:
        self._digest = digest
        self._blob = blob

    @property
    def native(self) -> _native.Blob:
        """The core's handle, for the other modules of `steelyard.local`."""
        return self._blob

    @property
    def digest(self) -> Digest:
        """The blob's name."""
        return self._digest

    @property
    def size(self) -> int:
        """The blob's length in bytes, as its file has it."""
        return self._blob.size

    async def read_at(self, offset: int, size: int) -> bytes:
        """Read a range, unverified; see `ReaderAt.read_at`."""
        self._check_range(offset, size)
        end = min(offset + size, self.size)
        if end - offset <= PIECE:
            return await run(self._blob.read_at, offset, end - offset)
        return b"".join([await run(self._blob.read_at, at, min(PIECE, end - at)) for at in range(offset, end, PIECE)])

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read a range into the caller's memory, unverified; see `ReaderAt.readinto_at`."""
        with view(buffer) as target:
            self._check_range(offset, target.nbytes)
            done = 0
            while True:
                with target[done : done + PIECE] as piece:
                    count = await run(self._blob.readinto_at, offset + done, piece)
                done += count
                if count == 0 or done == target.nbytes:
                    return done

    def stream(self) -> VerifiedStream:
        """Return the verified stream of the whole blob; see `ReaderAt.stream`."""
        return VerifiedStream(self._digest, self._blob)

    def fileno(self) -> int:
        """Return the descriptor of the blob's file; it closes with the reader."""
        return self._blob.fileno()

    async def aclose(self) -> None:
        """Close the blob's file."""
        self._blob.close()
        await checkpoint()

    def _check_range(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0:
            raise InvalidArgument(f"blob {self._digest}: offset {offset} and size {size} must not be negative")
        if offset > self.size:
            raise OutOfRange(str(self._digest), offset=offset, size=self.size)


class VerifiedStream(ByteReceiveStream):
    """A blob's bytes in order, hashed as they pass; the end of the stream is the proof."""

    def __init__(self, digest: Digest, blob: _native.Blob) -> None:
        self._digest = digest
        self._blob = blob
        self._hasher = _native.Hasher([digest.algorithm.value])
        self._offset = 0
        self._failure: DataCorrupt | None = None
        self._closed = False

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        """Return the next bytes, at most `max_bytes`.

        Raises:
            anyio.EndOfStream: the blob has ended and matches its digest.
            DataCorrupt: it does not match; raised instead of the end, again on every further call.
        """
        if max_bytes <= 0:
            raise ValueError("max_bytes must be positive")
        if self._closed:
            raise anyio.ClosedResourceError
        if self._failure is not None:
            await checkpoint()
            raise self._failure
        data = await run(read_and_hash, self._blob, self._hasher, self._offset, min(max_bytes, PIECE))
        self._offset += len(data)
        if data:
            return data
        self._failure = mismatch(self._digest, self._hasher)
        if self._failure is not None:
            raise self._failure
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        """End the stream; the reader stays open."""
        self._closed = True
        await checkpoint()


def read_and_hash(blob: _native.Blob, hasher: _native.Hasher, offset: int, size: int) -> bytes:
    """Read a piece and feed it to the hasher, both in the calling thread."""
    data = blob.read_at(offset, size)
    hasher.update(data)
    return data


def mismatch(digest: Digest, hasher: _native.Hasher) -> DataCorrupt | None:
    """Return the error for bytes that are not those of `digest`, or None when they are."""
    (encoded,) = hasher.encoded()
    if encoded == digest.encoded:
        return None
    return DataCorrupt(str(digest), expected=str(digest), actual=f"{digest.algorithm}:{encoded}")
