"""The content of an export: the store, and blobs in memory that exist for this export only."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard._runtime.opening import opening
from steelyard.content import Provider, ReaderAt, Store
from steelyard.digest import Digest
from steelyard.errors import InvalidDigest
from steelyard.images.documents import OCIDescriptor
from steelyard.images.layout import MemoryLayout
from steelyard.images.node import Node
from steelyard.model import Descriptor

__all__ = ("Content",)


class Content(Provider):
    """A store with additional blobs in memory.

    Attributes:
        store: the store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._extra = MemoryLayout()

    def add(self, data: bytes, descriptor: OCIDescriptor) -> None:
        """Add the bytes of the descriptor, which are verified."""
        self._extra.blobs[descriptor.blob] = data

    def add_documents(self, nodes: Iterable[Node]) -> None:
        """Keep the documents that were read, so that they are not read again."""
        for node in nodes:
            if node.document is not None:
                self.add(node.document.raw, node.descriptor)

    def offers(self, descriptor: OCIDescriptor) -> bool:
        """Return whether the blob is in memory or embedded in its descriptor."""
        try:
            if descriptor.blob in self._extra.blobs:
                return True
        except InvalidDigest:
            return False
        data = descriptor.embedded()
        if data is not None:
            self.add(data, descriptor)
        return data is not None

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob; see `Provider.reader_at`."""
        digest = Descriptor.of(blob).digest
        return await (self._extra if digest in self._extra.blobs else self.store).reader_at(blob)

    async def read(self, descriptor: OCIDescriptor) -> bytes:
        """Return a small blob's bytes, verified.

        Raises:
            DataCorrupt: the stored bytes do not match the digest or the size.
        """
        wanted = Descriptor(digest=descriptor.blob, size=descriptor.size)
        data = self._extra.blobs.get(wanted.digest)
        if data is None:
            return await self.store.get(wanted)
        wanted.check_size(len(data))
        return data
