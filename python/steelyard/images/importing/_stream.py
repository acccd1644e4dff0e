"""Archives in a stream: one pass, in which blobs are stored as they come, with memory for a few batches of small ones."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from contextlib import suppress

import anyio
import msgspec
from anyio.abc import TaskGroup

from steelyard import _archive
from steelyard._archive import Decompressed, Entry, TarStream, format_of
from steelyard._runtime.chunks import Batch
from steelyard._runtime.iteration import next_item
from steelyard._runtime.scopes import task_group
from steelyard.digest import Algorithm, Digest
from steelyard.errors import LimitExceeded
from steelyard.hashing import Hasher
from steelyard.images._off_loop import off_loop
from steelyard.images.importing._blob_writer import (
    BATCH,
    BATCH_BYTES,
    SINGLE_ABOVE,
    ImportBlobWriter,
    Item,
    check_again,
    ref_of,
)
from steelyard.images.importing._contents import DOCUMENTS, LEFTOVERS
from steelyard.images.importing._hashes import Hashes
from steelyard.images.importing._judged import Archive, check_entry, check_repeated
from steelyard.images.importing._naming import Contents
from steelyard.images.importing._pieces import Counted, Rest, Spliced
from steelyard.images.importing._read_ahead import read_ahead
from steelyard.images.importing._source import blob_of
from steelyard.images.layout._names import blob_name
from steelyard.images.read import ParsedDocuments
from steelyard.model import DEFAULT_ALGORITHM, Buffer, PutResult
from steelyard.transfer._source import hash_piece

__all__ = ("ArchiveStream",)

_BATCHES = 2
"""The number of batches that are stored while reading of the archive continues."""

_ID = re.compile("[0-9a-f]{64}")
"""A file of `docker save` with this text in its name has a name that no other image uses for a different file."""


class ArchiveStream(Archive):
    """An archive from any stream, compressed or not.

    The archive may name a file only after the file itself, so every file that could be a blob is stored. Blobs that are already
    stored are skipped. For an unfinished blob, the stored bytes are compared and the rest is written.

    Args:
        source: the archive.
        writer: stores the blobs.
        parsed: the documents that the import has parsed, and the bounds on the archive.
    """

    def __init__(self, source: AsyncIterable[Buffer], writer: ImportBlobWriter, parsed: ParsedDocuments) -> None:
        super().__init__(parsed)
        self._writer = writer
        self._source = Counted(source, writer.ledger)
        self._plain = Decompressed(self._source, ratio=self._limits.ratio)
        self._tar = self._open(self._plain)
        self._hashes = Hashes()
        self._is_layout = False
        self._strays: set[Digest] = set()  # stored from files outside the directory of blobs
        self._batch: Batch[tuple[Item, Entry, bytes]] = Batch(BATCH, BATCH_BYTES)
        self._batches = anyio.Semaphore(_BATCHES)

    async def look(self) -> None:
        """Read up to the first entry."""
        with suppress(StopAsyncIteration):
            await next_item(self._tar)

    async def contents(self) -> Contents:
        """Read the archive to its end, and store its blobs; return its images."""
        async with read_ahead(self._source) as source:
            # Bytes that arrive while a hop decompresses are decompressed in the next hop.
            self._plain = Decompressed(source, ratio=self._limits.ratio, ready=source.ready)
            async with read_ahead(self._plain) as pieces, task_group() as tasks:
                self._tar = self._open(pieces)
                async for entry in self._tar:
                    await self._take(entry, tasks)
                await self._flush(tasks)
        contents = await self._judge()
        if contents.made or not self._strays:
            return contents
        # Only files in the directory of blobs belong to a layout: an import from a file reads no others.
        strays = frozenset(digest for digest in self._strays if not self._has_blob(digest))
        return msgspec.structs.replace(contents, strays=strays)

    def _open(self, pieces: AsyncIterable[Buffer]) -> TarStream:
        return TarStream(pieces, entries=self._limits.entries, header_bytes=self._limits.header_bytes)

    async def take(self, wanted: Collection[Digest] | None) -> None:
        """Do nothing: `contents` has stored the blobs."""

    async def _take(self, entry: Entry, tasks: TaskGroup) -> None:
        first = entry if entry.earlier is None else self._tar.find(entry.name)
        assert first is not None  # noqa: S101  # the name is repeated
        check_repeated(first, entry)
        check_entry(entry)
        if entry.kind != "regular":
            return
        if entry.name in DOCUMENTS:
            await self._keep(entry)
            return
        digest = blob_of(entry)
        if first is not entry:
            await self._compare(first, digest, tasks)
        elif digest is not None or self._may_be_saved(entry):
            await self._store(entry, digest, tasks)
        else:
            self._hashes.put(entry.index, await _hash(DEFAULT_ALGORITHM, self._tar.data()), None)

    async def _keep(self, entry: Entry) -> None:
        """Read a document, and keep it."""
        self._plain.lift_ratio()
        raw = await self._read(entry, self._limits.json_bytes)
        if self._documents.add(entry.name, raw) != raw:
            check_again(entry.name, "the bytes", "others")
        self._is_layout = await off_loop(len(raw), self._documents.names_images)

    def _may_be_saved(self, entry: Entry) -> bool:
        """Return whether a file that is not a layout's blob could belong to `docker save`."""
        return not self._is_layout and entry.name.rsplit("/", 1)[-1] not in LEFTOVERS

    async def _store(self, entry: Entry, digest: Digest | None, tasks: TaskGroup) -> None:
        item = Item(entry.name, entry.size, digest)
        if entry.size <= SINGLE_ABOVE:
            data = await self._read(entry, SINGLE_ABOVE)
            if self._batch.add((item, entry, data), len(data)):
                await self._flush(tasks)
            return
        first = await self._head()
        compression = format_of(first[: _archive.HEAD])
        pieces = Rest(first, self._tar.data())
        claimed = None if digest is not None else _claimed(entry)
        if claimed is not None:
            item = Item(entry.name, entry.size, claimed)
            if await self._writer.find_present([item], settle=False):
                self._remember(entry, digest, await self._store_unless(item, pieces), compression)
                return
            item = Item(entry.name, entry.size)
        result = await self._writer.write_single(item, pieces, ref=_ref(entry, digest or claimed))
        self._note(item, result)
        self._remember(entry, digest, result.digest, compression)

    async def _store_unless(self, item: Item, pieces: AsyncIterator[memoryview]) -> Digest:
        """Store a large blob, unless it equals the stored blob of the digest in its name; return its digest.

        Both are read in parallel. If they differ, the equal part is read from the store again.
        """
        claimed = item.digest
        assert claimed is not None  # noqa: S101  # by its caller
        async with self._writer.store.reader_at(claimed) as reader:
            offset = 0
            async for piece in pieces:
                if await reader.read_at(offset, len(piece)) != piece:
                    whole = Spliced(reader, offset, piece, pieces)
                    result = await self._writer.write_single(Item(item.entry, item.size), whole)
                    self._note(item, result)
                    return result.digest
                offset += len(piece)
        self._writer.ledger.settle(claimed, item.size, "present")
        return claimed

    def _has_blob(self, digest: Digest) -> bool:
        """Return whether the archive has that blob as a file in its directory of blobs."""
        entry = self._tar.find(blob_name(digest))
        return entry is not None and entry.kind == "regular"

    def _remember(self, entry: Entry, named: Digest | None, digest: Digest, compression: str) -> None:
        """Note the digest of a stored file, unless its name contains it."""
        self._hashes.put(entry.index, digest if named is None else None, compression)

    def _note(self, item: Item, result: PutResult) -> None:
        """Note a blob that was stored from a file outside the directory of blobs."""
        if result.new and blob_name(result.digest) != item.entry:
            self._strays.add(result.digest)

    async def _flush(self, tasks: TaskGroup) -> None:
        """Start to store the batch, while reading of the archive continues."""
        batch = self._batch.take()
        await self._batches.acquire()
        tasks.start_soon(self._store_batch, batch)

    async def _store_batch(self, batch: list[tuple[Item, Entry, bytes]]) -> None:
        """Store the blobs of a batch that are not stored yet."""
        present = await self._writer.find_present(item for item, _, _ in batch) if batch else set()
        rest = [(item, data) for item, _, data in batch if item.digest not in present]
        stored = iter(await self._writer.write_batch(rest) if rest else ())
        for item, entry, data in batch:
            if item.digest is not None and item.digest in present:
                digest = item.digest
            else:
                result = next(stored)
                self._note(item, result)
                digest = result.digest
            self._remember(entry, item.digest, digest, format_of(data[: _archive.HEAD]))
        # Not after a failure: a waiting task could continue before the failure cancels it.
        self._batches.release()

    async def _compare(self, first: Entry, named: Digest | None, tasks: TaskGroup) -> None:
        """Refuse a repeated file with other bytes."""
        await self._flush(tasks)
        for _ in range(_BATCHES):  # with all permits, no batch is being stored
            await self._batches.acquire()
        for _ in range(_BATCHES):
            self._batches.release()
        row = self._hashes.get(first.index)
        known = named or (None if row is None else row[0])
        assert known is not None  # noqa: S101  # every file is hashed
        check_again(first.name, known, await _hash(known.algorithm, self._tar.data()))

    async def _head(self) -> memoryview:
        """Return the first piece of an entry's data, long enough to identify its compression."""
        head = await next_item(self._tar.data())
        while len(head) < _archive.HEAD:
            # A piece is valid only until the next read of the source, so it is copied.
            head = memoryview(bytes(head) + bytes(await next_item(self._tar.data())))
        return head

    async def _read(self, entry: Entry, most: int) -> bytes:
        if entry.size > most:
            raise LimitExceeded(entry.name, limit="json_bytes", allowed=most, actual=entry.size)
        # Each piece is copied, because it is valid only until the next one. The size in a header is not used to reserve memory.
        return b"".join([bytes(piece) async for piece in self._tar.data()])

    def _resolve(self, name: str) -> Entry | None:
        return self._tar.resolve(name)

    async def _config_of(self, entry: Entry) -> tuple[bytes, Digest]:
        digest, _ = self._stored(entry)
        return await self._writer.store.get(digest), digest

    async def _layers_of(self, layers: Sequence[tuple[Entry, str]]) -> list[tuple[Digest, str]]:
        return [self._stored(entry) for entry, _ in layers]

    def _stored(self, entry: Entry) -> tuple[Digest, str]:
        row = self._hashes.get(entry.index)
        assert row is not None  # noqa: S101  # every file that may be named is stored
        assert row[1] is not None  # noqa: S101  # as above
        digest = blob_of(entry) or row[0]
        assert digest is not None  # noqa: S101  # it is in the name, or it was noted
        return digest, row[1]


def _claimed(entry: Entry) -> Digest | None:
    """Return the digest in the name of a file of `docker save`, if there is one; it may be wrong."""
    stem = entry.name.partition(".")[0]
    if len(stem) != DEFAULT_ALGORITHM.encoded_length:
        return None
    try:
        return Digest.parse(f"{DEFAULT_ALGORITHM}:{stem}")
    except ValueError:
        return None


def _ref(entry: Entry, named: Digest | None) -> str | None:
    """Return the ref for a large blob; None if its name does not identify it."""
    if named is not None:
        return ref_of(named)
    return f"import-{entry.name}" if _ID.search(entry.name) else None


async def _hash(algorithm: Algorithm, pieces: AsyncIterator[memoryview]) -> Digest:
    hasher = Hasher(algorithm)
    async for piece in pieces:
        hasher = await hash_piece(hasher, piece)
    return hasher.digest()
