"""The base class of stores: it implements the convenience methods of `Store` with the interfaces alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

import anyio
from anyio import ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream

from steelyard import transfer
from steelyard._runtime.buffers import view
from steelyard._runtime.refqueue import ref_queue
from steelyard.content import ReaderAt, Store
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, NotFound
from steelyard.hashing import Hasher
from steelyard.model import Buffer, Info, PutManyResult, PutResult, Source, Sources
from steelyard.options import REF_LIMIT, PutOptions, check_ref
from steelyard.transfer._put import put_source
from steelyard.transfer._put_many import put_each
from steelyard.transfer._source import hash_piece

__all__ = ("REF_LIMIT", "BaseReader", "BaseStore", "check_ref")


class BaseStore(Store):
    """A store with all convenience methods; a subclass implements `images` and the methods of the four interfaces.

    `open_writer` must know when a ref becomes free. Call `_ref_released` whenever a writer of your store releases its ref,
    and raise `Unavailable` with ``local=True`` exactly if such a call will follow.

    Override `_put` or `_put_many` if your store has a faster way than an ingest for each source.
    """

    def _ref_released(self, ref: str) -> None:
        """Wake the task that waits for `ref`, after a commit, a close or an abort has freed it."""
        ref_queue(self).released(ref)

    async def _put(self, source: Source, options: PutOptions) -> PutResult:
        """Store a source through an ingest of its own; a store with a faster way overrides this hook of `put`."""
        return await put_source(self, source, options)

    def _put_many(
        self, sources: Sources, options: PutOptions, concurrency: int | None
    ) -> AsyncGenerator[PutManyResult, None]:
        """Store many sources, each as `put` does; a store with a faster way overrides this hook of `put_many`."""

        async def put(source: Source) -> PutResult:
            return await self._put(source, options)

        return put_each(put, sources, concurrency)

    async def get(self, digest: Digest | str) -> bytes:
        """Return a whole blob, verified; see `Store.get`."""
        return await transfer.read_blob(self, digest)

    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the blob is stored."""
        return await transfer.exists(self, digest)

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the `Info` of each stored digest, with one look-up after the other."""
        await anyio.lowlevel.checkpoint()
        found = {}
        for digest in [Digest.parse(digest) for digest in digests]:
            try:
                found[digest] = await self.info(digest)
            except NotFound:
                continue
        return found


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
        if self._closed:
            raise ClosedResourceError
        piece = await self._reader.read_at(self._offset, max_bytes)
        if piece:
            await hash_piece(self._hasher, piece)
            self._offset += len(piece)
            return piece
        found = self._hasher.digest()
        if found != self._reader.digest:
            raise DataCorrupt(str(self._reader.digest), expected=str(self._reader.digest), actual=str(found))
        raise EndOfStream

    async def aclose(self) -> None:
        self._closed = True
        await anyio.lowlevel.checkpoint()
