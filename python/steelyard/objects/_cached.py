"""Reading a blob through a cache."""

from __future__ import annotations

from anyio import ClosedResourceError
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.opening import opening
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt
from steelyard.local.reader import LocalReader
from steelyard.model import Descriptor
from steelyard.objects._cache import Cache
from steelyard.objects._reader import ObjectReader
from steelyard.transfer._reader import BaseReader

__all__ = ("WHOLE", "CachedReader")

WHOLE = 4 << 20
"""The largest blob that `read_at` downloads."""


class CachedReader(ProcessBound, BaseReader):
    """A reader of a blob that is in the cache, or that `stream` downloads into the cache.

    `read_at` also downloads a blob of up to `WHOLE` bytes. It reads ranges of a larger blob from the server.

    Args:
        cache: the cache.
        server: reads from the server, or None for a blob that is in the cache.
        local: reads from the cache, or None.
    """

    def __init__(self, cache: Cache, server: ObjectReader | None, local: LocalReader | None) -> None:
        reader = server or local
        assert reader is not None  # noqa: S101  # one of them is given
        self._cache, self._server, self._local = cache, server, local
        self._blob = Descriptor(digest=reader.digest, size=reader.size)
        self._closed = False

    @property
    def digest(self) -> Digest:
        return self._blob.digest

    @property
    def size(self) -> int:
        assert self._blob.size is not None  # noqa: S101  # it was given
        return self._blob.size

    async def read_at(self, offset: int, size: int) -> bytes:
        reader = await self._open() if self.size <= WHOLE else self._current()
        return await reader.read_at(offset, size)

    def stream(self) -> ByteReceiveStream:
        self._current()
        return _CachedStream(self)

    def read_from(self, offset: int = 0) -> ByteReceiveStream:
        return self._current().read_from(offset)

    def fileno(self) -> int:
        return self._current().fileno()

    async def aclose(self) -> None:
        self._closed = True
        for reader in (self._server, self._local):
            if reader is not None:
                await reader.aclose()
        await checkpoint()

    async def open_stream(self) -> ByteReceiveStream:
        """Download the blob if the cache can keep it, and open its verified stream."""
        return (await self._open()).stream()

    async def remove(self) -> None:
        """Remove the blob, which is damaged, from the cache."""
        if self._local is not None:
            await self._cache.remove([self.digest])

    async def _open(self) -> ReaderAt:
        self._current()
        if self._local is None and self._server is not None:
            local = await self._cache.download(_KnownBlob(self._server), self._blob)
            if local is not None and (self._closed or self._local is not None):
                await local.aclose()  # another task was faster
            elif local is not None:
                self._local = local
        return self._current()

    def _current(self) -> ReaderAt:
        reader = self._local or self._server
        if self._closed or reader is None:
            raise ClosedResourceError
        return reader


class _KnownBlob(Provider):
    """Opens a blob whose object is known already, without another request."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ObjectReader:
        del blob
        await checkpoint()
        return self._reader.another()


class _CachedStream(ByteReceiveStream):
    """Downloads the blob first, if the cache can keep it, and then reads it from the cache."""

    def __init__(self, reader: CachedReader) -> None:
        self._reader = reader
        self._stream: ByteReceiveStream | None = None
        self._closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self._closed:
            raise ClosedResourceError
        if self._stream is None:
            self._stream = await self._reader.open_stream()
        try:
            return await self._stream.receive(max_bytes)
        except DataCorrupt:
            await self._reader.remove()
            raise

    async def aclose(self) -> None:
        self._closed = True
        if self._stream is not None:
            await self._stream.aclose()
        await checkpoint()
