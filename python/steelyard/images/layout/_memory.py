"""A layout in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from anyio import ClosedResourceError
from anyio.lowlevel import checkpoint

from steelyard._runtime.opening import opening
from steelyard._runtime.scopes import managed
from steelyard.content import ReaderAt
from steelyard.digest import Algorithm, Digest
from steelyard.errors import NotFound
from steelyard.hashing import digest_of
from steelyard.images.layout._driver import BlobWriter, LayoutDriver, check_blob, check_room
from steelyard.model import Buffer, Descriptor
from steelyard.options import PutOptions
from steelyard.transfer._memory_reader import MemoryReader

__all__ = ("MemoryLayout",)


class MemoryLayout(LayoutDriver):
    """A layout in memory, for tests and for generated images.

    Attributes:
        files: the layout's own files by name.
        blobs: its blobs.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.blobs: dict[Digest, bytes] = {}
        self._lock = anyio.Lock()

    @opening
    async def blob_writer(
        self,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> BlobWriter:
        """Start a blob; see `LayoutDriver.blob_writer`."""
        await checkpoint()
        return _Writer(self.blobs, PutOptions.parse(size=size, expected=expected, algorithm=algorithm))

    async def delete_blob(self, digest: Digest | str) -> None:
        """Remove a blob; see `LayoutDriver.delete_blob`."""
        await checkpoint()
        if self.blobs.pop(Digest.parse(digest), None) is None:
            raise NotFound(digest)

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob; see `Provider.reader_at`."""
        await checkpoint()
        given = Descriptor.of(blob)
        data = self.blobs.get(given.digest)
        if data is None:
            raise NotFound(given.digest)
        given.check_size(len(data))
        return MemoryReader(given.digest, data)

    async def _read(self, name: str) -> bytes:
        await checkpoint()
        if name not in self.files:
            raise NotFound(name, kind="file")
        return self.files[name]

    async def _write(self, name: str, data: bytes) -> None:
        await checkpoint()
        self.files[name] = data

    @managed
    async def _edit(self) -> AsyncIterator[None]:
        async with self._lock:
            yield


class _Writer(BlobWriter):
    def __init__(self, blobs: dict[Digest, bytes], options: PutOptions) -> None:
        self._blobs = blobs
        self._options = options
        self._data: bytearray | None = bytearray()

    @property
    def offset(self) -> int:
        return len(self._open())

    async def write(self, data: Buffer) -> None:
        octets = memoryview(data).cast("B")
        check_room(self.offset + len(octets), self._options)
        self._open().extend(octets)
        await checkpoint()

    async def commit(self, *, size: int | None = None, expected: Digest | str | None = None) -> Digest:
        data = bytes(self._open())
        self._data = None
        found = await digest_of(data, algorithm=self._options.algorithm)
        check_blob(found, len(data), self._options, PutOptions.parse(size=size, expected=expected))
        self._blobs[found] = data
        return found

    async def aclose(self) -> None:
        self._data = None
        await checkpoint()

    def _open(self) -> bytearray:
        if self._data is None:
            raise ClosedResourceError
        return self._data
