"""Builds the documents of a tree from its entries, in order. Full manifests are stored at once, so memory is bounded."""

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
"""The most bytes in a manifest or an index: registries and other programs refuse larger documents."""

_MOST_BYTES = 2 << 20
"""The bytes of entries at which a manifest is full. They leave room for one more entry, and for the other fields."""

_MOST_ENTRIES = 8192
"""The number of entries at which a manifest is full."""

_WHOLE_ENTRIES = 4096
"""A tree with at most this many entries is a single manifest, if they fit into it."""

_CUT = 256
"""On average, one in this many directories begins a manifest. Only the path decides, so a change in one directory moves no other border."""


class _Part:
    """The entries of one manifest.

    Attributes:
        layers: the encoded layers of the files.
        others: the links and the empty directories.
        entries: the number of layers and others together.
        bytes: a lower bound of their bytes.
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

    A new manifest begins at some directories, chosen by their paths, and when the current one is full. So a change in one directory
    changes the manifest that contains it, and no other.

    Args:
        guard: the lease guard of the store for the documents.
    """

    def __init__(self, guard: LeaseGuard) -> None:
        self._guard = guard
        self._parts = deque([_Part()])
        self._directory = ""
        self._manifests: list[tuple[Digest, int]] = []
        self._entries = 0

    @property
    def is_due(self) -> bool:
        """Whether a manifest is complete, so that `store_due` stores it."""
        return len(self._parts) > 1 and self._entries > _WHOLE_ENTRIES

    def add_file(self, path: str, layer: bytes) -> None:
        """Add the next entry of the tree: a file with its encoded layer."""
        self._part_of(path, len(layer)).layers.append(msgspec.Raw(layer))

    def add(self, entry: Entry) -> None:
        """Add the next entry of the tree: a link, or an empty directory."""
        self._part_of(entry.path, len(msgspec.json.encode((entry.path, entry.target)))).others.append(entry)

    async def store_due(self) -> None:
        """Store the manifests that are complete."""
        while self.is_due:
            await self._store_part(self._parts.popleft())

    def _part_of(self, path: str, size: int) -> _Part:
        """Return the part for the next entry, which takes `size` bytes."""
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
        """Store the remaining documents, and return the descriptor of the tree."""
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
    """Return whether one of the directories entered on the way from `before` to `directory` begins a manifest."""
    return any(hashlib.sha256(each.encode()).digest()[0] % _CUT == 0 for each in entered(before, directory))


def _children(data: bytes, media_type: str) -> Iterator[OCIDescriptor]:
    view = parse_document(data, media_type, name="tree").view
    if isinstance(view, Index | Manifest):
        yield from view.children
