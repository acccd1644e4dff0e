"""The documents of a tree, made from its entries in order, with memory for one manifest."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator

import msgspec

from steelyard.digest import Digest
from steelyard.errors import LimitExceeded
from steelyard.images._off_loop import off_loop
from steelyard.images.documents import Index, Manifest, OCIDescriptor
from steelyard.images.leases import LeaseGuard
from steelyard.images.media_types import OCI_INDEX, OCI_MANIFEST
from steelyard.images.parse import parse_document
from steelyard.model import Descriptor
from steelyard.trees._entry import Entry, entered
from steelyard.trees._format import EMPTY_LAYER, encode_config, encode_index, encode_manifest

__all__ = ("DOCUMENT_BYTES", "TreeBuilder")

DOCUMENT_BYTES = 4 << 20
"""The most bytes of a manifest or an index: registries and other programs refuse larger ones."""

_MOST_BYTES = 2 << 20
"""The bytes of entries that fill a manifest. It has room for one more entry, and for its other fields."""

_MOST_ENTRIES = 8192
"""The entries that fill a manifest."""

_WHOLE_ENTRIES = 4096
"""A tree of at most so many entries, that fit into one manifest, is one."""

_CUT = 256
"""On average, one of so many directories begins a manifest. Its path alone decides, so a change in one directory moves no border of others."""


class _Part:
    """The entries of one manifest.

    Attributes:
        layers: the encoded layers of the files.
        others: the links and the empty directories.
        entries: the number of both.
        bytes: the bytes of both, at least.
    """

    def __init__(self) -> None:
        self.layers: list[msgspec.Raw] = []
        self.others: list[Entry] = []
        self.entries = 0
        self.bytes = 0

    def add(self, part: _Part) -> None:
        """Add the entries of the next part."""
        self.layers += part.layers
        self.others += part.others
        self.entries += part.entries
        self.bytes += part.bytes


class TreeBuilder:
    """Stores the documents of a tree.

    A manifest begins at some directories, chosen by their paths, and wherever one is full. So a change in one directory
    changes the manifest that it is in, and leaves the others as they are.

    Args:
        guard: where they are stored.
    """

    def __init__(self, guard: LeaseGuard) -> None:
        self._guard = guard
        self._parts = deque([_Part()])
        self._directory = ""
        self._manifests: list[tuple[Digest, int]] = []
        self._entries = 0

    @property
    def is_due(self) -> bool:
        """Whether a manifest is full, so that `store_due` has something to store."""
        return len(self._parts) > 1 and self._entries > _WHOLE_ENTRIES

    def add_file(self, path: str, layer: bytes) -> None:
        """Add the next entry of the tree: a file with its encoded layer."""
        self._part_of(path, len(layer)).layers.append(msgspec.Raw(layer))

    def add(self, entry: Entry) -> None:
        """Add the next entry of the tree: a link, or an empty directory."""
        self._part_of(entry.path, len(msgspec.json.encode((entry.path, entry.target)))).others.append(entry)

    async def store_due(self) -> None:
        """Store the manifests that are full."""
        while self.is_due:
            await self._store_part(self._parts.popleft())

    def _part_of(self, path: str, size: int) -> _Part:
        """Return the part of the next entry, which takes so many bytes."""
        part, directory = self._parts[-1], path.rpartition("/")[0]
        if directory != self._directory:
            begins, self._directory = _begins_part(self._directory, directory), directory
            if begins:
                part = self._begin_part()
        if part.entries >= _MOST_ENTRIES or part.bytes + size > _MOST_BYTES:
            part = self._begin_part()
        part.entries += 1
        part.bytes += size + 1
        self._entries += 1
        return part

    def _begin_part(self) -> _Part:
        if self._parts[-1].entries:
            self._parts.append(_Part())
        return self._parts[-1]

    async def finish(self) -> Descriptor:
        """Store what is left, and return the descriptor of the tree."""
        if self._entries <= _WHOLE_ENTRIES and sum(part.bytes for part in self._parts) <= _MOST_BYTES:
            first, *others = self._parts
            for part in others:
                first.add(part)
            await self._store_part(first)
            ((digest, size),) = self._manifests
            return Descriptor(digest=digest, size=size, media_type=OCI_MANIFEST)
        while self._parts:
            await self._store_part(self._parts.popleft())
        data = encode_index(self._manifests)
        if len(data) > DOCUMENT_BYTES:
            raise LimitExceeded("index of a tree", limit="json_bytes", allowed=DOCUMENT_BYTES, actual=len(data))
        return Descriptor(digest=await self._store(data, OCI_INDEX), size=len(data), media_type=OCI_INDEX)

    async def _store_part(self, part: _Part) -> None:
        config = encode_config(part.others)
        named = await self._guard.store.put(config)
        if not part.layers:
            await self._guard.store.put(EMPTY_LAYER)
        data = await off_loop(part.bytes, lambda: encode_manifest(named.digest, len(config), part.layers))
        self._manifests.append((await self._store(data, OCI_MANIFEST), len(data)))

    async def _store(self, data: bytes, media_type: str) -> Digest:
        result = await self._guard.store.put(data)
        await self._guard.refer_all(result.digest, _children(data, media_type))
        return result.digest


def _begins_part(before: str, directory: str) -> bool:
    """Whether one of the directories that are entered between two directories begins a manifest."""
    return any(hashlib.sha256(each.encode()).digest()[0] % _CUT == 0 for each in entered(before, directory))


def _children(data: bytes, media_type: str) -> Iterator[OCIDescriptor]:
    view = parse_document(data, media_type, name="tree").view
    if isinstance(view, Index | Manifest):
        yield from view.children
