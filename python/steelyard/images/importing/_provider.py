"""Sources whose blobs are read one by one: layouts and other stores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack, suppress

import msgspec

from steelyard._runtime.chunks import Batch, slices
from steelyard._runtime.concurrent import map_concurrently
from steelyard.content import Provider, ReaderAt, Source, Store
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, NotFound
from steelyard.images._off_loop import off_loop
from steelyard.images._pieces import RawPieces, file_of
from steelyard.images.importing._blob_writer import BATCH_BYTES, SINGLE_ABOVE, ImportBlobWriter, Item
from steelyard.images.importing._naming import Contents, Root
from steelyard.images.importing._needed import needed
from steelyard.images.importing._source import ImageSource
from steelyard.images.layout import DirectoryLayout, LayoutDriver
from steelyard.images.layout._names import INDEX_FILE, encode_index
from steelyard.images.read import DocumentReader, ParsedDocuments
from steelyard.model import FileRange

__all__ = ("ImagesOf", "LayoutSource", "StoreSource")

_OPEN = 64
"""The number of readers that are open at the same time."""


class ImagesOf(msgspec.Struct, frozen=True):
    """Images of another store, as a source.

    Attributes:
        store: the open store.
        names: the image names, as that store has them; at least one.
    """

    store: Store
    names: tuple[str, ...]


class _Copies(ImageSource):
    """Copies blobs from a provider."""

    def __init__(self, provider: Provider, writer: ImportBlobWriter, parsed: ParsedDocuments, concurrency: int) -> None:
        self._provider = provider
        self._writer = writer
        self._reader = DocumentReader(provider, parsed)
        self._concurrency = concurrency
        self._roots: tuple[Root, ...] = ()
        self._large: list[Item] = []

    @property
    def provider(self) -> Provider:
        """The source of the blobs."""
        return self._provider

    async def _all(self) -> set[Digest]:
        """Return the digests of all blobs of the images, for any platform."""
        return await needed(self._reader, (root.descriptor for root in self._roots), None)

    async def _copy(self, digests: Collection[Digest]) -> None:
        """Copy blobs: small ones in groups, then large ones, several at a time."""
        ordered = sorted(digests)
        await map_concurrently(slices(ordered, _OPEN), self._copy_small, concurrency=self._concurrency)
        await map_concurrently(self._large, self._copy_large, concurrency=self._concurrency)

    async def _copy_small(self, digests: Sequence[Digest]) -> None:
        """Copy the small blobs that are not stored, and note the large ones for later."""
        async with AsyncExitStack() as stack:
            readers = {}
            for digest in digests:
                # The check at the end finds the missing blobs that are needed.
                with suppress(NotFound):
                    readers[digest] = await stack.enter_async_context(self._provider.reader_at(digest))
            items = [Item(str(digest), reader.size, digest) for digest, reader in readers.items()]
            present = await self._writer.find_present(items)
            rest = [item for item in items if item.digest not in present]
            self._writer.ledger.advance(sum(item.size for item in items if item.digest in present))
            self._large += [item for item in rest if item.size > SINGLE_ABOVE]
            batch: Batch[tuple[Item, bytes]] = Batch(_OPEN, BATCH_BYTES)
            for item in rest:
                if item.digest is not None and item.size <= SINGLE_ABOVE:
                    data = await readers[item.digest].read_at(0, item.size)
                    if batch.add((item, data), len(data)):
                        await self._store(batch.take())
            await self._store(batch.take())

    async def _copy_large(self, item: Item) -> None:
        async with self._provider.reader_at(item.entry) as reader:
            await self._writer.write_single(item, _source(reader), counts=True)

    async def _store(self, batch: list[tuple[Item, bytes]]) -> None:
        if batch:
            await self._writer.write_batch(batch)
            self._writer.ledger.advance(sum(len(data) for _, data in batch))


class LayoutSource(_Copies):
    """An image layout as a source.

    Args:
        layout: the open layout.
        writer: stores the blobs.
        parsed: the documents that the import has parsed.
        concurrency: batches, or large blobs, that are copied at a time.
    """

    def __init__(
        self, layout: LayoutDriver, writer: ImportBlobWriter, parsed: ParsedDocuments, concurrency: int
    ) -> None:
        super().__init__(layout, writer, parsed, concurrency)
        self._layout = layout

    async def contents(self) -> Contents:
        """Return the images of the layout's index."""
        await self._layout.read_layout()
        index = await self._layout.read_index()
        named = index.view.children
        self._roots = await off_loop(len(index.raw), lambda: tuple(Root.of(each) for each in named))
        return Contents(roots=self._roots, index=index.raw, name=INDEX_FILE)

    async def take(self, wanted: Collection[Digest] | None) -> None:
        """Copy the wanted blobs, or all; only those of the images if the layout cannot list its blobs."""
        if not isinstance(self._layout, DirectoryLayout):
            await self._copy(await self._all() if wanted is None else wanted)
            return
        there = await self._layout.digests()
        for digest in there if wanted is not None else ():
            if wanted is not None and digest not in wanted:
                async with self._layout.reader_at(digest) as reader:
                    self._writer.ledger.settle(digest, reader.size, "skipped")
        await self._copy([digest for digest in there if wanted is None or digest in wanted])


class StoreSource(_Copies):
    """Images of another store as a source.

    Args:
        images: the store and the names.
        writer: stores the blobs.
        parsed: the documents that the import has parsed.
        concurrency: batches, or large blobs, that are copied at a time.
    """

    def __init__(self, images: ImagesOf, writer: ImportBlobWriter, parsed: ParsedDocuments, concurrency: int) -> None:
        if not images.names:
            raise InvalidArgument("names: expected at least one image name of the other store")
        super().__init__(images.store, writer, parsed, concurrency)
        self._images = images

    async def contents(self) -> Contents:
        """Return the images of these names."""
        store = self._images.store
        roots = []
        for name in self._images.names:
            image = await store.images.get(name)
            descriptor = await self._reader.describe(image.target)
            roots.append(Root(descriptor=descriptor, names=(image.name,)))
        self._roots = tuple(roots)
        return Contents(roots=self._roots, index=encode_index(root.descriptor for root in roots), name="store")

    async def take(self, wanted: Collection[Digest] | None) -> None:
        """Copy the wanted blobs, or all blobs of the images."""
        await self._copy(await self._all() if wanted is None else wanted)


def _source(reader: ReaderAt) -> Source:
    """Return a source of the blob's bytes; the digest of the whole is checked when they are stored."""
    file = file_of(reader)
    return RawPieces(reader) if file is None else FileRange(file, 0, reader.size)
