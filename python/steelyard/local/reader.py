"""Reading blobs: random reads, and the stream that verifies."""

from __future__ import annotations

import anyio
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.buffers import view
from steelyard._runtime.calls import run, run_always
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.jobs import whole
from steelyard.content import ReaderAt
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidArgument, OutOfRange
from steelyard.model import Buffer

__all__ = ("AT_ONCE", "LocalReader", "VerifiedStream", "differs", "mismatch", "verified")

_CHUNK = 1 << 20

AT_ONCE = 256 << 10
"""Up to this many bytes are read without a trip to a thread if the page cache has them: some ten microseconds, less
than the trip, and far less than an event loop's users notice."""


_HASHED_AT_ONCE = 16 << 10
"""Up to this many bytes are also hashed without a trip to a thread."""


class LocalReader(ProcessBound, ReaderAt):
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
        """Read a range, unverified; see `ReaderAt.read_at`.

        Cost:
            What the page cache has takes no trip to a thread, up to `AT_ONCE` bytes, on file systems that can tell
            (ext4, XFS, btrfs; not tmpfs).
        """
        self._check_range(offset, size)
        blob, size = self._blob, min(size, self.size - offset)
        if size <= AT_ONCE:
            await checkpoint()
            data = blob.read_cached(offset, size)
            if data is not None:
                return data
        return await whole(lambda job: blob.read_at(offset, size, job))

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read a range into the caller's memory, unverified; see `ReaderAt.readinto_at`."""
        blob = self._blob
        with view(buffer) as target:
            self._check_range(offset, target.nbytes)
            if min(target.nbytes, self.size - offset) <= AT_ONCE:
                await checkpoint()
                count = blob.readinto_cached(offset, target)
                if count is not None:
                    return count
            return await whole(lambda job: blob.readinto_at(offset, target, job))

    def stream(self) -> VerifiedStream:
        """Return the verified stream of the whole blob; see `ReaderAt.stream`."""
        return VerifiedStream(self._digest, self._blob)

    def fileno(self) -> int:
        """Return the descriptor of the blob's file; it closes with the reader."""
        return self._blob.fileno()

    @uninterrupted
    async def aclose(self) -> None:
        """Close the blob's file."""
        if not self._blob.close_at_once():
            # CANCEL: shielded, because nobody else closes it.
            await run_always(self._blob.close)
        await checkpoint()

    def _check_range(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0:
            raise InvalidArgument(f"blob {self._digest}: offset {offset} and size {size} must not be negative")
        if offset > self.size:
            raise OutOfRange(str(self._digest), offset=offset, size=self.size)


class VerifiedStream(ProcessBound, ByteReceiveStream):
    """A blob's bytes in order, read ahead and hashed beside the caller's work; the end of the stream is the proof."""

    def __init__(self, digest: Digest, blob: _native.Blob) -> None:
        self._digest = digest
        self._stream = blob.stream()
        self._failure: DataCorrupt | None = None
        self._closed = False

    async def receive(self, max_bytes: int = _CHUNK) -> bytes:
        """Return the next bytes, at most `max_bytes` and at most 1 MiB.

        Raises:
            anyio.EndOfStream: the blob has ended and matches its digest.
            DataCorrupt: it does not match; raised instead of the end, again on every further call.

        Cost:
            What was read ahead (up to 3 MiB) is given without a trip to a thread.
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
        self._failure = differs(self._digest, await run(self._stream.encoded))
        if self._failure is not None:
            raise self._failure
        raise anyio.EndOfStream

    @uninterrupted
    async def aclose(self) -> None:
        """End the stream; the reader stays open."""
        if not self._closed:
            self._closed = True
            # CANCEL: shielded, because a thread may still read ahead for this stream.
            await run_always(self._stream.close)
        await checkpoint()


async def verified(reader: LocalReader) -> bytes:
    """Return all bytes of a blob.

    Raises:
        DataCorrupt: they do not match the digest.
    """
    digest, blob = reader.digest, reader.native
    if blob.size <= _HASHED_AT_ONCE and (cached := blob.read_cached(0, blob.size)) is not None:
        hasher = _native.Hasher([digest.algorithm.value])
        hasher.update(cached)
        data, failure = cached, mismatch(digest, hasher)
    else:
        data, failure = await whole(lambda job: _read_and_hash(digest, blob, job))
    if failure is not None:
        raise failure
    return data


def _read_and_hash(digest: Digest, blob: _native.Blob, job: _native.Job) -> tuple[bytes, DataCorrupt | None]:
    hasher = _native.Hasher([digest.algorithm.value])  # a new one: the call is repeated if it was ended early
    return blob.read_and_hash(hasher, job), mismatch(digest, hasher)


def mismatch(digest: Digest, hasher: _native.Hasher) -> DataCorrupt | None:
    """Return the error for bytes that are not those of `digest`, or None when they are."""
    (encoded,) = hasher.encoded()
    return differs(digest, encoded)


def differs(digest: Digest, encoded: str) -> DataCorrupt | None:
    """Return the error for bytes that have another digest than they should, or None."""
    if encoded == digest.encoded:
        return None
    return DataCorrupt(str(digest), expected=str(digest), actual=f"{digest.algorithm}:{encoded}")
