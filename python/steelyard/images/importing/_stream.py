"""Archives that come as a stream: one pass, blobs taken as they come, memory for one batch of small ones."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Collection
from typing import Self

import anyio
from anyio.abc import TaskGroup

from steelyard import _archive
from steelyard._archive import Decompressed, Entry, TarStream, resolve
from steelyard._types import Buffer
from steelyard.digest import Digest
from steelyard.errors import InvalidArchive, LimitExceeded
from steelyard.hashing import Hasher
from steelyard.images import media_types
from steelyard.images.documents import SavedImage
from steelyard.images.importing._ahead import ahead
from steelyard.images.importing._contents import (
    DOCUMENTS,
    SAVED,
    Layer,
    layer_type,
    layout_contents,
    saved_config,
    saved_contents,
    saved_images,
    saved_manifest,
)
from steelyard.images.importing._intake import BATCH, BATCH_BYTES, SMALL, Intake, Item, check_again, ref_of
from steelyard.images.importing._naming import Contents, Root
from steelyard.images.importing._source import ImageSource, blob_of, regular
from steelyard.images.limits import Limits
from steelyard.model import DEFAULT_ALGORITHM
from steelyard.transfer._source import hash_piece

__all__ = ("ArchiveStream",)

_BATCHES = 2
"""Batches on their way to the disk while the archive is read on."""

_LEFTOVERS = frozenset({"VERSION", "json", "repositories"})
"""Files that `docker save` writes for readers of long ago; no ``manifest.json`` names them."""

_ID = re.compile("[0-9a-f]{64}")
"""What makes the name of a file of `docker save` one that no other image uses for another file."""


class ArchiveStream(ImageSource):
    """An archive from any stream, compressed or not.

    What a file is for may be told after it, so that all that could be a blob is stored. Blobs that an earlier import stored are
    passed over; of one that was under way, what is stored already is read and compared, and the rest of it written.

    Args:
        source: the archive.
        intake: where blobs go.
        limits: bounds on the archive.
    """

    def __init__(self, source: AsyncIterable[Buffer], intake: Intake, limits: Limits) -> None:
        self._intake = intake
        self._limits = limits
        self._plain = Decompressed(_Counted(source, intake), ratio=limits.ratio)
        self._tar = self._open(self._plain)
        self._entries: dict[str, Entry] = {}
        self._digests: dict[str, Digest] = {}  # of entries that are stored, by their names
        self._heads: dict[str, bytes] = {}  # how files begin that may be layers of `docker save`
        self._documents: dict[str, bytes] = {}
        self._batch: list[tuple[Item, bytes]] = []
        self._held = 0
        self._batches = anyio.Semaphore(_BATCHES)

    async def contents(self) -> Contents:
        """Read the archive to its end, and store its blobs."""
        try:
            async with ahead(self._plain) as pieces, anyio.create_task_group() as tasks:
                self._tar = self._open(pieces)
                async for entry in self._tar:
                    await self._take(entry, tasks)
                await self._flush(tasks)
        except ExceptionGroup as group:
            # What fails first cancels the rest, and is told by itself.
            first: Exception = group
            while isinstance(first, ExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        found = layout_contents(self._documents, self._limits)
        if found is None:
            images = saved_images(self._documents, self._limits)
            found = saved_contents([await self._saved(saved) for saved in images])
        return found

    def _open(self, pieces: AsyncIterable[Buffer]) -> TarStream:
        return TarStream(pieces, entries=self._limits.entries, header_bytes=self._limits.header_bytes)

    async def take(self, wanted: Collection[Digest] | None) -> None:
        """There is nothing left to do."""

    async def _take(self, entry: Entry, tasks: TaskGroup) -> None:
        first = self._entries.setdefault(entry.name, entry)
        if first is not entry:
            check_again(entry.name, first.kind, entry.kind)
            check_again(entry.name, first.target or "no link", entry.target or "no link")
        if entry.kind != "regular":
            return
        if entry.name in DOCUMENTS:
            self._plain.lift_ratio()
            raw = await self._read(entry, self._limits.json_bytes)
            if self._documents.setdefault(entry.name, raw) != raw:
                check_again(entry.name, "the bytes", "others")
            return
        digest = blob_of(entry)
        if first is not entry:
            check_again(entry.name, first.size, entry.size)
            await self._compare(entry, tasks)
        elif digest is not None or self._may_be_saved(entry):
            await self._store(entry, digest, tasks)

    def _may_be_saved(self, entry: Entry) -> bool:
        """Return whether a file that is no blob of a layout could be one of `docker save`."""
        if self._documents.keys() & (DOCUMENTS - {SAVED}):
            return False
        return entry.name.rsplit("/", 1)[-1] not in _LEFTOVERS

    async def _store(self, entry: Entry, digest: Digest | None, tasks: TaskGroup) -> None:
        item = Item(entry.name, entry.size, digest)
        if entry.size <= SMALL:
            data = await self._read(entry, SMALL)
            self._batch.append((item, data))
            self._held += len(data)
            self._heads[entry.name] = data[: _archive.HEAD]
            if len(self._batch) >= BATCH or self._held >= BATCH_BYTES:
                await self._flush(tasks)
            return
        first = await self._head()
        self._heads[entry.name] = bytes(first[: _archive.HEAD])
        pieces = _Rest(first, self._tar.data())
        claimed = None if digest is not None else _claimed(entry)
        if claimed is not None and await self._intake.present([Item(entry.name, entry.size, claimed)]):
            # The bytes have to be those, or the archive misleads.
            found = await _hash(claimed, pieces)
            if found != claimed:
                raise InvalidArchive(entry.name, expected=f"{claimed}, as its name says", found=str(found))
            self._intake.ledger.settle(claimed, entry.size, "present")
            self._digests[entry.name] = claimed
            return
        result = await self._intake.large(item, pieces, ref=_ref(entry, digest or claimed))
        self._digests[entry.name] = result.digest

    async def _flush(self, tasks: TaskGroup) -> None:
        """Begin to store the batch; the archive is read on meanwhile."""
        batch, self._batch, self._held = self._batch, [], 0
        await self._batches.acquire()
        tasks.start_soon(self._store_batch, batch)

    async def _store_batch(self, batch: list[tuple[Item, bytes]]) -> None:
        """Store a batch, but for what is stored."""
        try:
            present = await self._intake.present(item for item, _ in batch) if batch else set()
            rest = [pair for pair in batch if pair[0].digest not in present]
            stored = await self._intake.small(rest) if rest else []
            self._digests |= {item.entry: item.digest for item, _ in batch if item.digest is not None}
            self._digests |= {item.entry: result.digest for (item, _), result in zip(rest, stored, strict=True)}
        finally:
            self._batches.release()

    async def _compare(self, entry: Entry, tasks: TaskGroup) -> None:
        """Refuse a file that comes again with other bytes; of what is no blob nothing was kept to compare."""
        await self._flush(tasks)
        for _ in range(_BATCHES):  # nothing is under way once all places are ours
            await self._batches.acquire()
        for _ in range(_BATCHES):
            self._batches.release()
        known = self._digests.get(entry.name)
        if known is not None:
            check_again(entry.name, known, await _hash(known, self._tar.data()))

    async def _head(self) -> memoryview:
        """Return the first piece of an entry's data, long enough to tell what it is compressed with."""
        head = await anext(aiter(self._tar.data()))
        while len(head) < _archive.HEAD:
            # A piece ends where one of the source does; what is lent is copied before the source goes on.
            head = memoryview(bytes(head) + bytes(await anext(aiter(self._tar.data()))))
        return head

    async def _read(self, entry: Entry, most: int) -> bytes:
        if entry.size > most:
            raise LimitExceeded(entry.name, limit="json_bytes", allowed=most, found=entry.size)
        # Joined from copies, piece by piece: a piece is only lent, and nothing is set aside because a header says so.
        return b"".join([bytes(piece) async for piece in self._tar.data()])

    async def _saved(self, saved: SavedImage) -> tuple[bytes, Root]:
        """Return the manifest of an image of `docker save`, all of whose files are stored by now."""
        entry = self._find(saved.config)
        if entry.size > self._limits.json_bytes:
            raise LimitExceeded(entry.name, limit="json_bytes", allowed=self._limits.json_bytes, found=entry.size)
        digest = self._digests[entry.name]
        config = saved_config(await self._intake.store.get(digest), saved, self._limits)
        layers = [
            self._layer(name, diff) for name, diff in zip(saved.layers or (), config.rootfs.diff_ids or (), strict=True)
        ]
        return saved_manifest(saved, config, Layer(str(digest), entry.size, media_types.DOCKER_CONFIG), layers)

    def _layer(self, name: str, diff: str) -> Layer:
        entry = self._find(name)
        digest = self._digests[entry.name]
        media_type = layer_type(entry.name, self._heads[entry.name])
        if media_type == media_types.DOCKER_LAYER and blob_of(entry) is None and str(digest) != diff:
            raise InvalidArchive(entry.name, expected=f"{diff}, as the config says", found=str(digest))
        return Layer(str(digest), entry.size, media_type)

    def _find(self, name: str) -> Entry:
        """Return the entry that ``manifest.json`` names, through links."""
        found = self._entries.get(name.removeprefix("./"))
        if found is None:
            raise InvalidArchive(name[:300], expected="an entry of that name, as manifest.json says", found="none")
        found = regular(resolve(self._entries, found))
        if found.name not in self._digests:
            raise InvalidArchive(found.name, expected="a name that a config or a layer has", found="another file's")
        return found


def _claimed(entry: Entry) -> Digest | None:
    """Return the digest that a file of `docker save` has by its name, where its name looks like one; it may mislead."""
    stem = entry.name.partition(".")[0]
    if len(stem) != DEFAULT_ALGORITHM.encoded_length:
        return None
    try:
        return Digest.parse(f"{DEFAULT_ALGORITHM}:{stem}")
    except ValueError:
        return None


def _ref(entry: Entry, named: Digest | None) -> str | None:
    """Return the ingest for a large blob; None where nothing but its bytes tells it from others."""
    if named is not None:
        return ref_of(named)
    return f"import-{entry.name}" if _ID.search(entry.name) else None


async def _hash(known: Digest, pieces: AsyncIterator[memoryview]) -> Digest:
    hasher = Hasher(known.algorithm)
    async for piece in pieces:
        await hash_piece(hasher, piece)
    return hasher.digest()


class _Counted:
    """A stream whose bytes count in the progress of the whole."""

    def __init__(self, source: AsyncIterable[Buffer], intake: Intake) -> None:
        self._source = aiter(source)
        self._ledger = intake.ledger

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        piece = await anext(self._source)
        self._ledger.advance(memoryview(piece).nbytes)
        # It is read ahead, so a buffer that the source fills again would change under us.
        return piece if type(piece) is bytes else bytes(piece)


class _Rest:
    """The data of an entry, of which the first piece was looked at."""

    def __init__(self, first: memoryview, rest: AsyncIterator[memoryview]) -> None:
        self._first: memoryview | None = first
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        first, self._first = self._first, None
        return await anext(self._rest) if first is None else first
