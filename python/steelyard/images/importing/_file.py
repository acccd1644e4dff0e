"""Archives in a file without compression: they are indexed first, then several blobs at a time are stored, in any order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import anyio

from steelyard import _archive
from steelyard._archive import Entry, TarIndex, format_of
from steelyard._archive._reading import FILES_PAGE
from steelyard._runtime.chunks import Batch
from steelyard._runtime.concurrent import map_concurrently
from steelyard._runtime.opening import opening
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.errors import LimitExceeded, NotFound
from steelyard.hashing import Hasher
from steelyard.images._off_loop import few_inline, short_slices
from steelyard.images.importing._blob_writer import (
    BATCH,
    BATCH_BYTES,
    SINGLE_ABOVE,
    ImportBlobWriter,
    Item,
    check_again,
    hash_range,
    read_ranges,
)
from steelyard.images.importing._contents import DOCUMENTS
from steelyard.images.importing._judged import Archive, check_entry, check_repeated
from steelyard.images.importing._naming import Contents
from steelyard.images.importing._source import blob_of
from steelyard.images.layout._names import BLOBS, blob_name
from steelyard.images.read import ParsedDocuments
from steelyard.model import DEFAULT_ALGORITHM, Descriptor, FileRange
from steelyard.transfer._memory_reader import MemoryReader

__all__ = ("ArchiveFile",)

Work = list[tuple[Item, FileRange]]
"""The work of one task: a large blob, or a batch of small ones."""


class ArchiveFile(Archive, Provider):
    """An archive in a file.

    Args:
        file: its descriptor, which the caller closes.
        writer: stores the blobs.
        parsed: the documents that the import has parsed, and the bounds on the archive.
        concurrency: large blobs, or batches of small ones, that are stored at a time.
    """

    def __init__(self, file: int, writer: ImportBlobWriter, parsed: ParsedDocuments, concurrency: int) -> None:
        super().__init__(parsed)
        self._file = file
        self._writer = writer
        self._concurrency = concurrency
        self._index = TarIndex(file, entries=self._limits.entries, header_bytes=self._limits.header_bytes)
        self._saved_blobs: dict[Digest, Entry] = {}  # named by `docker save`, and not by the name of a layout's blob
        self._made: dict[str, bytes] = {}
        # Used only for an archive with few entries, which is traversed three times. All pages of a large one need too much memory.
        self._only_page: Work | None = None

    @property
    def provider(self) -> Provider:
        """The archive itself. As a property it makes no reference cycle, so the index of a million entries is freed after its last use."""
        return self

    async def contents(self) -> Contents:
        """Return the images, by headers and documents alone."""
        known: tuple[int, Digest] | None = None  # of the last repeated entry
        more = True
        while more:
            repeated, more = await self._index.step()
            for again in repeated:
                known = await self._compare(again, known)
        documents = [entry for name in sorted(DOCUMENTS) if (entry := self._index.find(name)) is not None]
        for entry in documents:
            check_entry(entry)
        for entry, raw in zip(documents, await self._read(documents), strict=True):
            self._documents.add(entry.name, raw)
        blobs = self._blobs()
        while await self._next(blobs) is not None:
            pass  # each name is checked
        found = await self._judge()
        self._made = found.made
        return found

    async def take(self, wanted: Collection[Digest] | None) -> None:
        """Store the wanted blobs that are not stored yet."""
        ledger = self._writer.ledger
        total = 0
        blobs = self._blobs()
        while (work := await self._next(blobs)) is not None:
            for part in short_slices(work):
                await anyio.lowlevel.checkpoint()
                for item, _ in part:
                    if wanted is None or item.digest in wanted:
                        total += item.size
                    elif item.digest is not None:
                        ledger.settle(item.digest, item.size, "skipped")
        ledger.total = total
        blobs = self._blobs()
        while (work := await self._next(blobs)) is not None:
            chosen = work if wanted is None else [pair for pair in work if pair[0].digest in wanted]
            await map_concurrently(_cut(await self._missing(chosen)), self._store, concurrency=self._concurrency)

    async def _next(self, blobs: Iterator[Work]) -> Work | None:
        """Return the next list of `_blobs`, None at the end."""
        return await few_inline(len(self._index), lambda: next(blobs, None))

    async def _missing(self, chosen: Work) -> Work:
        """Return the blobs of the work that are not stored yet."""
        rest: Work = []
        for pairs in short_slices(chosen):
            present = await self._writer.find_present([item for item, _ in pairs])
            rest += (pair for pair in pairs if pair[0].digest not in present)
            self._writer.ledger.advance(sum(item.size for item, _ in pairs if item.digest in present))
        return rest

    def _blobs(self) -> Iterator[Work]:
        """Iterate over lists of blobs in the order of the archive: those of a layout, then those of `docker save`.

        Raises:
            InvalidArchive: the name of a blob is not a digest.
        """
        if self._only_page is None:
            yield from self._pages()
        else:
            yield self._only_page
        saved = sorted(self._saved_blobs.items(), key=lambda pair: pair[1].data_offset)
        yield [self._work(entry, digest) for digest, entry in saved if self._blob(digest) is None]

    def _pages(self) -> Iterator[Work]:
        for entries in self._index.files_below(BLOBS):
            pairs = ((entry, blob_of(entry)) for entry in entries)
            page = [self._work(entry, digest) for entry, digest in pairs if digest is not None]
            if len(self._index) <= FILES_PAGE:
                self._only_page = page
            yield page

    def _work(self, entry: Entry, digest: Digest) -> tuple[Item, FileRange]:
        return Item(entry.name, entry.size, digest), self._place(entry)

    def _blob(self, digest: Digest) -> Entry | None:
        """Return the entry of a layout's blob."""
        entry = self._index.find(blob_name(digest))
        return entry if entry is not None and entry.kind == "regular" else None

    async def _store(self, work: Work) -> None:
        item, place = work[0]
        if item.size > SINGLE_ABOVE:
            await self._writer.write_single(item, place, counts=True)
            return
        data = await read_ranges([each for _, each in work])
        await self._writer.write_batch([(each, octets) for (each, _), octets in zip(work, data, strict=True)])
        self._writer.ledger.advance(sum(map(len, data)))

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob of the archive, or a document made for it."""
        digest = Descriptor.of(blob).digest
        made = self._made.get(str(digest))
        if made is not None:
            return MemoryReader(digest, made)
        entry = self._blob(digest) or self._saved_blobs.get(digest)
        if entry is None:
            raise NotFound(digest)
        if entry.size > self._limits.json_bytes:
            raise LimitExceeded(str(digest), limit="json_bytes", allowed=self._limits.json_bytes, actual=entry.size)
        return MemoryReader(digest, *await self._read([entry]))

    def _place(self, entry: Entry) -> FileRange:
        return FileRange(self._file, entry.data_offset, entry.size)

    async def _read(self, entries: Sequence[Entry]) -> list[bytes]:
        """Return the bytes of documents, with one hop for all."""
        for entry in entries:
            if entry.size > self._limits.json_bytes:
                raise LimitExceeded(entry.name, limit="json_bytes", allowed=self._limits.json_bytes, actual=entry.size)
        return await read_ranges([self._place(entry) for entry in entries]) if entries else []

    async def _compare(self, again: Entry, known: tuple[int, Digest] | None) -> tuple[int, Digest] | None:
        """Refuse an entry whose name is repeated with other content; return the number and digest of the first entry.

        Args:
            again: the repeated entry.
            known: the last result, so that the first of many equal entries is hashed only once.
        """
        first = self._index.find(again.name)
        assert first is not None  # noqa: S101  # the name is repeated
        check_repeated(first, again)
        if again.kind != "regular":
            return known
        digest = blob_of(again)
        if digest is None:
            if known is None or known[0] != first.index:
                known = first.index, await hash_range(self._place(first), Hasher(DEFAULT_ALGORITHM))
            digest = known[1]
        check_again(again.name, digest, await hash_range(self._place(again), Hasher(digest.algorithm)))
        return known

    def _resolve(self, name: str) -> Entry | None:
        return self._index.resolve(name)

    async def _config_of(self, entry: Entry) -> tuple[bytes, Digest]:
        (raw,) = await self._read([entry])
        digest = blob_of(entry)
        if digest is None:
            hasher = Hasher(DEFAULT_ALGORITHM)
            hasher.update(raw)
            digest = hasher.digest()
        self._saved_blobs[digest] = entry
        return raw, digest

    async def _layers_of(self, layers: Sequence[tuple[Entry, str]]) -> list[tuple[Digest, str]]:
        """Return each layer's digest from its name, or from the config if the layer is not compressed.

        A compressed layer without a digest in its name must be read to compute the digest, so it is read twice.
        """
        heads = [FileRange(self._file, entry.data_offset, min(_archive.HEAD, entry.size)) for entry, _ in layers]
        found: list[tuple[Digest, str]] = []
        for (entry, diff), head in zip(layers, await read_ranges(heads) if heads else (), strict=True):
            compression = format_of(head)
            digest = blob_of(entry)
            if digest is None and compression == "plain":
                digest = Digest.parse(diff)
            if digest is None:
                digest = await hash_range(self._place(entry), Hasher(DEFAULT_ALGORITHM))
            self._saved_blobs[digest] = entry
            found.append((digest, compression))
        return found


def _cut(pairs: list[tuple[Item, FileRange]]) -> Iterator[Work]:
    """Divide the work into single large blobs and batches of small ones."""
    batch: Batch[tuple[Item, FileRange]] = Batch(BATCH, BATCH_BYTES)
    for pair in pairs:
        size = pair[0].size
        if size > SINGLE_ABOVE:
            yield [pair]
        elif batch.add(pair, size):
            yield batch.take()
    if rest := batch.take():
        yield rest
