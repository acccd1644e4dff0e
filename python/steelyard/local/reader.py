"""Reading blobs: random reads, and the verified stream."""

from __future__ import annotations

import anyio
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from steelyard._runtime.buffers import view
from steelyard._runtime.calls import run, run_always
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.jobs import whole
from steelyard.content import ReaderAt
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt
from steelyard.hashing import Hasher
from steelyard.local.blocking import BlockingBlob
from steelyard.local.blocking._blob import compare
from steelyard.model import Buffer

__all__ = ("AT_ONCE", "LocalReader", "VerifiedStream", "verified")

_CHUNK = 1 << 20

AT_ONCE = 256 << 10
"""Up to this many bytes are read without a hop if the page cache has them. That takes some ten microseconds: less than
the hop, and too little to disturb an event loop."""

_HASHED_AT_ONCE = 16 << 10
"""Up to this many bytes are also hashed without a hop."""


class LocalReader(ProcessBound, ReaderAt):
    """An open blob of a `LocalStore`. Its descriptor stays valid when the blob is deleted meanwhile."""

    def __init__(self, blob: BlockingBlob) -> None:
        self._blob = blob
        self._native = blob.native

    @property
    def blob(self) -> BlockingBlob:
        """The open blob, for the other modules of `steelyard.local`."""
        return self._blob

    @property
    def digest(self) -> Digest:
        """The blob's name."""
        return self._blob.digest

    @property
    def size(self) -> int:
        """The length of the blob's file in bytes."""
        return self._native.size

    async def read_at(self, offset: int, size: int) -> bytes:
        """Read a range, unverified; see `ReaderAt.read_at`.

        Cost:
            Up to `AT_ONCE` bytes that the page cache has take no hop, on file systems with a non-blocking read (ext4,
            XFS, btrfs; not tmpfs).
        """
        native, size = self._native, self._blob.within(offset, size)
        if size <= AT_ONCE:
            await checkpoint()
            data = native.read_cached(offset, size)
            if data is not None:
                return data
        return await whole(lambda job: native.read_at(offset, size, job))

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read a range into the caller's memory, unverified; see `ReaderAt.readinto_at`."""
        native = self._native
        with view(buffer) as target:
            if self._blob.within(offset, target.nbytes) <= AT_ONCE:
                await checkpoint()
                count = native.readinto_cached(offset, target)
                if count is not None:
                    return count
            return await whole(lambda job: native.readinto_at(offset, target, job))

    async def read_and_hash(self, offset: int, size: int, hasher: Hasher) -> bytes:
        """Read a range, unverified, and update a hasher with it, in one hop; see `ReaderAt.read_at`.

        Cancellation: the hasher may have the bytes or not.
        """
        return await run(_read_and_hash, self._blob, offset, size, hasher)

    def stream(self) -> VerifiedStream:
        """Return the verified stream of the whole blob; see `ReaderAt.stream`."""
        return VerifiedStream(self._blob)

    def fileno(self) -> int:
        """Return the descriptor of the blob's file; it closes with the reader."""
        return self._native.fileno()

    async def aclose(self) -> None:
        """Close the blob's file."""
        if not self._native.close_at_once():
            # CANCEL: shielded, because no other code closes it.
            await run_always(self._blob.close)
        await checkpoint()


class VerifiedStream(ProcessBound, ByteReceiveStream):
    """A blob's bytes in order, read ahead and hashed on other threads. The end of the stream proves the bytes."""

    def __init__(self, blob: BlockingBlob) -> None:
        self._digest = blob.digest
        self._stream = blob.native.stream()
        self._failure: DataCorrupt | None = None
        self._closed = False

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        """Return the next bytes, at most `max_bytes` and at most 1 MiB.

        Raises:
            anyio.EndOfStream: the blob has ended and matches its digest.
            DataCorrupt: it does not match; raised instead of EndOfStream, and again by every further call.

        Cost:
            Bytes that were read ahead (up to 3 MiB) take no hop, and neither does a blob of up to 16 KiB that the page cache has.
        """
        if max_bytes <= 0:
            raise ValueError("max_bytes must be positive")
        if self._closed:
            raise anyio.ClosedResourceError
        await checkpoint()
        if self._failure is not None:
            raise self._failure
        most = min(max_bytes, _CHUNK)
        data = self._stream.take(most)
        if data is None:
            data = await run(self._stream.next, most)
        if data:
            return data
        encoded = self._stream.encoded_at_once()
        self._failure = compare(self._digest, await run(self._stream.encoded) if encoded is None else encoded)
        if self._failure is not None:
            raise self._failure
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        """End the stream; the reader stays open."""
        if not self._closed:
            self._closed = True
            if not self._stream.close_at_once():
                # CANCEL: shielded, because a thread may still be reading ahead for this stream.
                await run_always(self._stream.close)
        await checkpoint()


def _read_and_hash(blob: BlockingBlob, offset: int, size: int, hasher: Hasher) -> bytes:
    data = blob.read_at(offset, size)
    hasher.update(data)
    return data


async def verified(reader: LocalReader) -> bytes:
    """Return all bytes of a blob.

    Raises:
        DataCorrupt: they do not match the digest.
    """
    blob = reader.blob
    cached = blob.read_cached(_HASHED_AT_ONCE)
    data, failure = cached if cached is not None else await whole(blob.read)
    if failure is not None:
        raise failure
    return data
