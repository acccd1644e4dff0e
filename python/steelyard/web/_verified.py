"""Whole blobs, verified before the last byte is returned.

SHA-256 takes more processor time than the rest of a response. So two things are kept in memory:

- The bytes of small verified blobs, up to `_SMALL_TOTAL_BYTES` for the process.
- The BLAKE3 digests of larger blobs. The first whole read of a blob also computes BLAKE3. If its digest matches, the BLAKE3 is that of the
  right bytes, and stays right for ever. Later reads compare only BLAKE3, which takes a quarter of the time. Every read hashes all bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from anyio import EndOfStream

from steelyard._runtime.lru import LruCache
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Algorithm, Digest
from steelyard.errors import DataCorrupt, NotFound
from steelyard.hashing import Hasher
from steelyard.local import LocalStore
from steelyard.local.reader import LocalReader
from steelyard.model import Descriptor
from steelyard.transfer._memory_reader import MemoryReader

__all__ = ("PIECE_BYTES", "VerifiedReader", "forget", "verified_reader", "whole")

PIECE_BYTES = 1 << 20
"""The most bytes in a piece, and the size of a small blob."""

_SMALL_TOTAL_BYTES = 32 << 20
_KNOWN_LIMIT = 16_384
"""The most BLAKE3 digests. Each takes about 500 bytes of memory."""


_small: LruCache[Digest, bytes] = LruCache(_SMALL_TOTAL_BYTES)
_blake3: LruCache[Digest, Digest] = LruCache(_KNOWN_LIMIT)
"""A blob never changes, so the entries of both caches stay right."""


class VerifiedReader(MemoryReader):
    """A small verified blob in memory."""

    @property
    def data(self) -> bytes:
        """All its bytes."""
        return self._data


async def verified_reader(store: Provider, blob: Descriptor | Digest) -> VerifiedReader | None:
    """Return a reader of a small blob that is in memory and still stored, or None. A `LocalStore` checks that without a hop to a thread.

    Opening the blob as a reader would take a fifth more processor time for a response from memory, because the bytes of each response displace
    the program from the processor's caches.

    Raises:
        DataCorrupt: the size of the descriptor is not that of the stored blob.
    """
    digest = blob if isinstance(blob, Digest) else blob.digest
    data = _small.get(digest)
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
    return VerifiedReader(digest, data) if size == len(data) else None


async def whole(reader: ReaderAt) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a blob. At the end, raise DataCorrupt if they do not match the digest.

    A blob of up to `PIECE_BYTES` may come from memory.
    """
    digest, is_small = reader.digest, reader.size <= PIECE_BYTES
    data = _small.get(digest) if is_small else None
    if data is not None and len(data) == reader.size:
        yield data
        return
    kept = []
    read = _of_file(reader, remember=not is_small) if isinstance(reader, LocalReader) else _of_stream(reader)
    async with aclosing(read) as pieces:
        async for piece in pieces:
            if is_small:
                kept.append(piece)
            yield piece
    if is_small:
        data = b"".join(kept)
        _small.add(digest, data, len(data))


async def _of_stream(reader: ReaderAt) -> AsyncGenerator[bytes, None]:
    async with reader.stream() as stream:
        while True:
            try:
                piece = await stream.receive(PIECE_BYTES)
            except EndOfStream:
                return
            yield piece


async def _of_file(reader: LocalReader, *, remember: bool) -> AsyncGenerator[bytes, None]:
    expected = _blake3.get(reader.digest) or reader.digest
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
        _blake3.add(reader.digest, blake3)


def forget() -> None:
    """Empty both caches, for tests and measurements."""
    _small.clear()
    _blake3.clear()
