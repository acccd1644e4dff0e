"""Whole blobs, verified before the last byte is given.

Two things are remembered in memory, because an answer with SHA-256 takes a processor longer than all else that a server does:

- The bytes of small blobs that were verified, up to `_HELD_BYTES` for the process.
- The BLAKE3 of larger blobs. The first whole read of a blob computes its BLAKE3, too. If the digest is right, so is the BLAKE3, for ever: it
  is that of the right bytes. Later reads compare BLAKE3 alone, which takes a quarter of the time. Every byte is read and hashed each time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing

from anyio import EndOfStream
from anyio.lowlevel import checkpoint

from steelyard.content import Provider, ReaderAt
from steelyard.digest import Algorithm, Digest
from steelyard.errors import DataCorrupt, NotFound
from steelyard.hashing import Hasher
from steelyard.local import LocalStore
from steelyard.local.reader import LocalReader
from steelyard.model import Descriptor
from steelyard.options import check_range
from steelyard.transfer._reader import BaseReader

__all__ = ("PIECE_BYTES", "HeldReader", "forget", "held_reader", "whole")

PIECE_BYTES = 1 << 20
"""The most bytes in a piece, and the size of a small blob."""

_HELD_BYTES = 32 << 20
_KNOWN_LIMIT = 16_384
"""Each takes about 500 bytes of memory."""


class _Memory:
    """The knowledge of this process about blobs, the last used ones last. A blob never changes, so nothing here becomes wrong."""

    def __init__(self) -> None:
        self._held: OrderedDict[Digest, bytes] = OrderedDict()
        self._known: OrderedDict[Digest, Digest] = OrderedDict()
        self._held_bytes = 0

    def clear(self) -> None:
        self._held.clear()
        self._known.clear()
        self._held_bytes = 0

    def bytes_of(self, digest: Digest) -> bytes | None:
        data = self._held.get(digest)
        if data is not None:
            self._held.move_to_end(digest)
        return data

    def hold(self, digest: Digest, data: bytes) -> None:
        if digest not in self._held:
            self._held[digest] = data
            self._held_bytes += len(data)
        while self._held_bytes > _HELD_BYTES:
            self._held_bytes -= len(self._held.popitem(last=False)[1])

    def expected(self, digest: Digest) -> Digest:
        """Return the digest to compare: the BLAKE3 of the blob if it is known, else its name."""
        known = self._known.get(digest)
        if known is None:
            return digest
        self._known.move_to_end(digest)
        return known

    def know(self, digest: Digest, blake3: Digest) -> None:
        self._known[digest] = blake3
        while len(self._known) > _KNOWN_LIMIT:
            self._known.popitem(last=False)


_memory = _Memory()


class HeldReader(BaseReader):
    """A small blob that is in memory, verified."""

    def __init__(self, digest: Digest, data: bytes) -> None:
        self._digest = digest
        self.data = data

    @property
    def digest(self) -> Digest:
        """The blob's name."""
        return self._digest

    @property
    def size(self) -> int:
        """The blob's length in bytes."""
        return len(self.data)

    async def read_at(self, offset: int, size: int) -> bytes:
        """Return a range; see `ReaderAt.read_at`."""
        await checkpoint()
        return self.data[offset : offset + check_range(self._digest, len(self.data), offset, size)]

    async def aclose(self) -> None:
        """Do nothing: it holds nothing."""
        await checkpoint()


async def held_reader(store: Provider, blob: Descriptor | Digest) -> HeldReader | None:
    """Return a reader of a small blob that is in memory, or None. The blob is still stored, which a `LocalStore` says without a hop.

    The answer from memory takes a fifth more of a processor where the blob is opened as a reader, because the bytes of each answer displace
    the program from the processor's caches.

    Raises:
        DataCorrupt: the size of the descriptor is not that of the stored blob.
    """
    digest = blob if isinstance(blob, Digest) else blob.digest
    data = _memory.bytes_of(digest)
    if data is None or not isinstance(store, LocalStore):
        return None
    try:
        found = store.direct().blob_cached(blob)
    except NotFound:
        return None
    if found is None:
        return None
    size = found.size
    if not found.native.close_at_once():
        await LocalReader(found).aclose()
    return HeldReader(digest, data) if size == len(data) else None


async def whole(reader: ReaderAt) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a blob. The generator ends only if they match the digest; else it raises DataCorrupt.

    A blob of up to `PIECE_BYTES` may come from memory.
    """
    digest, small = reader.digest, reader.size <= PIECE_BYTES
    data = _memory.bytes_of(digest) if small else None
    if data is not None and len(data) == reader.size:
        yield data
        return
    kept = []
    read = _of_file(reader, remember=not small) if isinstance(reader, LocalReader) else _of_stream(reader)
    async with aclosing(read) as pieces:
        async for piece in pieces:
            if small:
                kept.append(piece)
            yield piece
    if small:
        _memory.hold(digest, b"".join(kept))


async def _of_stream(reader: ReaderAt) -> AsyncGenerator[bytes, None]:
    async with reader.stream() as stream:
        while True:
            try:
                piece = await stream.receive(PIECE_BYTES)
            except EndOfStream:
                return
            yield piece


async def _of_file(reader: LocalReader, *, remember: bool) -> AsyncGenerator[bytes, None]:
    expected = _memory.expected(reader.digest)
    algorithms = [expected.algorithm]
    if remember and expected.algorithm is not Algorithm.BLAKE3:
        algorithms.append(Algorithm.BLAKE3)
    hasher = Hasher(*algorithms)
    offset = 0
    while offset < reader.size:
        piece = await reader.read_and_hash(offset, PIECE_BYTES, hasher)
        offset += len(piece)
        yield piece
    found, *others = hasher.digests()
    if found != expected:
        raise DataCorrupt(reader.digest, expected=expected, actual=found)
    for blake3 in others:
        _memory.know(reader.digest, blake3)


def forget() -> None:
    """Forget all that is remembered, for tests and measurements."""
    _memory.clear()
