"""Archives in a file, not compressed: indexed first, then taken in any order, several blobs at a time."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence

import anyio

from steelyard import _archive
from steelyard._archive import Entry, resolve
from steelyard._bridge import run
from steelyard._types import FileRange
from steelyard.base import BaseReader
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.errors import InvalidArchive, LimitExceeded, NotFound, OutOfRange
from steelyard.hashing import Hasher
from steelyard.images import media_types
from steelyard.images._turns import parts
from steelyard.images.documents import SavedImage
from steelyard.images.exporting._together import together
from steelyard.images.importing._contents import (
    DOCUMENTS,
    Layer,
    layer_type,
    layout_contents,
    saved_config,
    saved_contents,
    saved_images,
    saved_manifest,
)
from steelyard.images.importing._intake import (
    BATCH,
    BATCH_BYTES,
    SMALL,
    Intake,
    Item,
    check_again,
    hash_range,
    read_ranges,
)
from steelyard.images.importing._naming import Contents, Root
from steelyard.images.importing._source import ImageSource, blob_of, regular
from steelyard.images.limits import Limits
from steelyard.model import DEFAULT_ALGORITHM, Descriptor

__all__ = ("ArchiveFile",)

Work = list[tuple[Item, FileRange]]
"""What one task does at a time: a large blob, or a batch of small ones."""


class ArchiveFile(ImageSource, Provider):
    """An archive in a file.

    Args:
        file: its descriptor, which stays the caller's.
        intake: where blobs go.
        limits: bounds on the archive.
        concurrency: blobs, or batches of small ones, in work at a time.
    """

    def __init__(self, file: int, intake: Intake, limits: Limits, concurrency: int) -> None:
        self.provider = self
        self._file = file
        self._intake = intake
        self._limits = limits
        self._concurrency = concurrency
        self._entries: dict[str, Entry] = {}
        self._blobs: dict[Digest, tuple[Item, FileRange]] = {}
        self._made: dict[str, bytes] = {}

    async def contents(self) -> Contents:
        """Return what images there are, from headers and documents alone."""
        limits = self._limits
        entries = await _archive.index(self._file, entries=limits.entries, header_bytes=limits.header_bytes)
        for entry in await run(self._sort, entries):
            await self._compare(self._entries[entry.name], entry)
        documents = {name: await self._read(self._entries[name]) for name in sorted(DOCUMENTS & self._entries.keys())}
        await run(self._find_blobs)
        found = layout_contents(documents, limits)
        if found is None:
            found = saved_contents([await self._saved(saved) for saved in saved_images(documents, limits)])
            self._made = found.made
        return found

    async def take(self, wanted: Collection[Digest] | None) -> None:
        """Store the blobs that are wanted, but for those that are stored already."""
        ledger = self._intake.ledger
        chosen, others = await run(self._choose, wanted)
        for part in parts(others):
            await anyio.lowlevel.checkpoint()
            for digest, size in part:
                ledger.settle(digest, size, "skipped")
        ledger.total = sum(item.size for item, _ in chosen)
        rest: list[tuple[Item, FileRange]] = []
        for pairs in parts(chosen):
            present = await self._intake.present([item for item, _ in pairs])
            rest += (pair for pair in pairs if pair[0].digest not in present)
            ledger.advance(sum(item.size for item, _ in pairs if item.digest in present))
        await together(_cut(rest), self._store, concurrency=self._concurrency)

    def _sort(self, entries: Sequence[Entry]) -> list[Entry]:
        """Remember the entries by name, and return those that come again."""
        self._entries = {entry.name: entry for entry in entries if entry.earlier is None}
        return [entry for entry in entries if entry.earlier is not None]

    def _find_blobs(self) -> None:
        for entry in self._entries.values():
            digest = blob_of(entry)
            if digest is not None:
                self._add(entry, digest)

    def _choose(self, wanted: Collection[Digest] | None) -> tuple[Work, list[tuple[Digest, int]]]:
        """Return the blobs that are wanted, in the order of the archive, and the others' digests and sizes."""
        pairs = sorted(self._blobs.items(), key=_offset)
        chosen = [pair for digest, pair in pairs if wanted is None or digest in wanted]
        return chosen, [(digest, pair[0].size) for digest, pair in pairs if wanted is not None and digest not in wanted]

    async def _store(self, work: Work) -> None:
        item, place = work[0]
        if item.size > SMALL:
            await self._intake.large(item, place, counts=True)
            return
        data = await read_ranges([each for _, each in work])
        await self._intake.small([(each, octets) for (each, _), octets in zip(work, data, strict=True)])
        self._intake.ledger.advance(sum(map(len, data)))

    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob of the archive, or a document that was made for it."""
        digest = blob.digest if isinstance(blob, Descriptor) else Digest.parse(blob)
        made = self._made.get(str(digest))
        if made is not None:
            return _Reader(digest, made)
        if digest not in self._blobs:
            raise NotFound("blob", str(digest))
        _, place = self._blobs[digest]
        if place.size > self._limits.json_bytes:
            raise LimitExceeded(str(digest), limit="json_bytes", allowed=self._limits.json_bytes, found=place.size)
        return _Reader(digest, (await read_ranges([place]))[0])

    def _place(self, entry: Entry) -> FileRange:
        return FileRange(self._file, entry.data_offset, entry.size)

    def _add(self, entry: Entry, digest: Digest) -> None:
        self._blobs.setdefault(digest, (Item(entry.name, entry.size, digest), self._place(entry)))

    async def _read(self, entry: Entry) -> bytes:
        """Return a document's bytes, through links."""
        found = regular(resolve(self._entries, entry))
        if found.size > self._limits.json_bytes:
            raise LimitExceeded(entry.name, limit="json_bytes", allowed=self._limits.json_bytes, found=found.size)
        return (await read_ranges([self._place(found)]))[0]

    async def _compare(self, first: Entry, again: Entry) -> None:
        """Refuse an entry that comes again and is another."""
        check_again(again.name, first.kind, again.kind)
        check_again(again.name, first.target or "no link", again.target or "no link")
        if again.kind != "regular":
            return
        check_again(again.name, first.size, again.size)
        known = blob_of(again) or await hash_range(self._place(first), Hasher(DEFAULT_ALGORITHM))
        check_again(again.name, known, await hash_range(self._place(again), Hasher(known.algorithm)))

    async def _saved(self, saved: SavedImage) -> tuple[bytes, Root]:
        """Return the manifest of an image of `docker save`; its files become blobs."""
        entry = self._entry(saved.config)
        raw = await self._read(entry)
        config = saved_config(raw, saved, self._limits)
        hasher = Hasher(DEFAULT_ALGORITHM)
        hasher.update(raw)
        digest = hasher.digest()
        self._add(regular(resolve(self._entries, entry)), digest)
        layers = [
            await self._layer(name, diff)
            for name, diff in zip(saved.layers or (), config.rootfs.diff_ids or (), strict=True)
        ]
        return saved_manifest(saved, config, Layer(str(digest), len(raw), media_types.DOCKER_CONFIG), layers)

    async def _layer(self, name: str, diff: str) -> Layer:
        """Return a layer of `docker save`, whose digest is told by its name, or by the config if it is not compressed.

        That of any other is only known when it is read; then it is read twice.
        """
        entry = regular(resolve(self._entries, self._entry(name)))
        place = self._place(entry)
        head = await run(os.pread, self._file, min(_archive.HEAD, entry.size), entry.data_offset)
        media_type = layer_type(entry.name, head)
        digest = blob_of(entry)
        if digest is None and media_type == media_types.DOCKER_LAYER:
            digest = Digest.parse(diff)
        if digest is None:
            digest = await hash_range(place, Hasher(DEFAULT_ALGORITHM))
        self._add(entry, digest)
        return Layer(str(digest), entry.size, media_type)

    def _entry(self, name: str) -> Entry:
        found = self._entries.get(name.removeprefix("./"))
        if found is None:
            raise InvalidArchive(name[:300], expected="an entry of that name, as manifest.json says", found="none")
        return found


def _offset(entry: tuple[Digest, tuple[Item, FileRange]]) -> int:
    return entry[1][1].offset


def _cut(pairs: list[tuple[Item, FileRange]]) -> Iterator[Work]:
    """Cut the work into large blobs, each alone, and batches of small ones."""
    batch: Work = []
    held = 0
    for pair in pairs:
        if pair[0].size > SMALL:
            yield [pair]
            continue
        batch.append(pair)
        held += pair[0].size
        if len(batch) >= BATCH or held >= BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


class _Reader(BaseReader):
    """A document, in memory."""

    def __init__(self, digest: Digest, data: bytes) -> None:
        self._digest = digest
        self._data = data

    @property
    def digest(self) -> Digest:
        return self._digest

    @property
    def size(self) -> int:
        return len(self._data)

    async def read_at(self, offset: int, size: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        if offset > len(self._data):
            raise OutOfRange(str(self._digest), offset=offset, size=len(self._data))
        return self._data[offset : offset + size]

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
