"""Finds entries of a tree by path. The tree's manifests are read when they are needed, and cached while there is room."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from steelyard._runtime.lru import LruCache
from steelyard.content import Store
from steelyard.errors import InvalidDocument
from steelyard.model import Descriptor
from steelyard.trees._entry import INLINE_ENTRIES, Entry, order_of
from steelyard.trees._tree import Tree, tree_of

__all__ = ("TreeLookup", "lookup_of")

_END = b"\1"
"""Appended to the key of an entry, it sorts after the entry and all entries below it, whose keys continue with a null byte."""


class _Position(msgspec.Struct, frozen=True):
    """An entry and its position.

    Attributes:
        entry: the entry.
        key: the entry's key by `order_of`.
        part: the number of the entry's manifest, from 0.
        place: the entry's index in that manifest.
    """

    entry: Entry
    key: bytes
    part: int
    place: int


class TreeLookup:
    """Finds entries of a tree by their path, and lists directories. `lookup_of` creates a look-up.

    In a large tree, a path is found by reading a few manifests: they are in order, so a binary search over their last entries finds the
    manifest of the path.

    Attributes:
        target: the descriptor of the tree.
        weight: the number of its manifests.
    """

    def __init__(self, store: Store, tree: Tree, kept: LruCache[str, list[Entry]]) -> None:
        self.target: Descriptor = tree.target
        self._store = store
        # A tree is kept only if it is an index: the manifest of a small tree is cached as entries.
        self._tree = tree if len(tree._manifests()) > 1 else None  # noqa: SLF001  # the same package
        self._parts = [descriptor for descriptor, _ in tree._manifests()]  # noqa: SLF001
        self.weight: int = len(self._parts)
        self._last: dict[int, bytes] = {}
        self._kept = kept
        self._reading = anyio.Lock()

    async def find(self, path: str) -> Entry | None:
        """Return the entry with that path, or None. Here, all directories have entries, also the root, ``""``.

        Raises:
            NotFound, InvalidDocument, LimitExceeded, DataCorrupt: as in `Tree.entries`.
        """
        key = _key(path)
        if key is None:
            return None
        if not path:
            return Entry(path="", kind="directory")
        found = await self._first(key)
        if found is not None and found.key == key:
            return found.entry
        if found is not None and found.key.startswith(key + b"\0"):
            return Entry(path=path, kind="directory")
        return None

    async def children(self, directory: str) -> AsyncGenerator[Entry, None]:
        """Iterate over the entries directly in a directory, in order, including directories. Raises the errors of `find`."""
        prefix, found = await self._first_below(directory)
        seen = 0
        while found is not None and found.key.startswith(prefix):
            if (seen := seen + 1) % INLINE_ENTRIES == 0:
                await checkpoint()
            head, below, _ = found.key[len(prefix) :].partition(b"\0")
            if below or found.entry.kind == "directory":
                yield Entry(path=(prefix + head).replace(b"\0", b"/").decode(), kind="directory")
                found = await self._first(prefix + head + _END)
            else:
                yield found.entry
                found = await self._next(found)

    async def below(self, directory: str) -> AsyncGenerator[Entry, None]:
        """Iterate over all entries below a directory, in order, like `Tree.entries`. Raises the errors of `find`."""
        prefix, found = await self._first_below(directory)
        seen = 0
        while found is not None and found.key.startswith(prefix):
            if (seen := seen + 1) % INLINE_ENTRIES == 0:
                await checkpoint()
            yield found.entry
            found = await self._next(found)

    async def _first_below(self, directory: str) -> tuple[bytes, _Position | None]:
        """Return the prefix of all keys below a directory, and the first entry with such a key or a later one."""
        prefix = _prefix(directory)
        return (b"", None) if prefix is None else (prefix, await self._first(prefix))

    async def _first(self, key: bytes) -> _Position | None:
        """Return the first entry with this key or a later one."""
        low, high = 0, len(self._parts)
        while low < high:
            middle = (low + high) // 2
            if await self._last_key(middle) < key:
                low = middle + 1
            else:
                high = middle
        for part in range(low, len(self._parts)):  # the first manifest has it, unless it is empty
            entries = await self._entries(part)
            place = bisect_left(entries, key, key=lambda entry: order_of(entry.path))
            if (found := _found(entries, part, place)) is not None:
                return found
        return None

    async def _next(self, found: _Position) -> _Position | None:
        part, place = found.part, found.place + 1
        while part < len(self._parts):
            following = _found(await self._entries(part), part, place)
            if following is not None:
                self._check_order(found, following)
                return following
            part, place = part + 1, 0
        return None

    def _check_order(self, found: _Position, following: _Position) -> None:
        """Check the border between two manifests. Within one, the order is checked when it is read."""
        if following.part != found.part and following.key <= found.key:
            where, expected = f"entry {following.entry.path!r}", f"a path after {found.entry.path!r}"
            raise InvalidDocument(str(self.target.digest), where=where, expected=expected, actual=following.entry.path)

    async def _last_key(self, part: int) -> bytes:
        """Return the key of the last entry of a manifest; for an empty manifest, the last key of the manifest before it."""
        if part not in self._last:
            key = b""
            for place in range(part, -1, -1):  # a loop, not recursion: thousands of manifests may be empty
                if place in self._last:
                    key = self._last[place]
                    break
                if entries := await self._entries(place):
                    key = order_of(entries[-1].path)
                    break
            self._last[part] = key
        return self._last[part]

    async def _entries(self, part: int) -> list[Entry]:
        digest = self._parts[part].digest
        entries = self._kept.get(digest)
        if entries is None:
            async with self._reading:  # several callers often want the same manifest
                entries = self._kept.get(digest)
                if entries is None:
                    tree = self._tree or await tree_of(self._store, self.target)
                    entries = await _read(tree, part)
                    self._kept.add(digest, entries, len(entries) + 1)
        return entries


async def lookup_of(store: Store, tree: Tree, kept: LruCache[str, list[Entry]]) -> TreeLookup:
    """Return a look-up for a tree.

    Args:
        store: the store.
        tree: the tree.
        kept: the cache for the entries of manifests, by their digests; several trees may share it.

    Raises:
        NotFound, InvalidDocument, LimitExceeded, DataCorrupt: as in `Tree.entries`.
    """
    lookup = TreeLookup(store, tree, kept)
    if lookup.weight == 1:  # opening the tree has read its manifest
        entries = await _read(tree, 0)
        kept.add(str(tree.target.digest), entries, len(entries) + 1)
    return lookup


async def _read(tree: Tree, part: int) -> list[Entry]:
    descriptor, manifest = tree._manifests()[part]  # noqa: SLF001  # the same package
    return await tree._entries_in(descriptor, manifest)  # noqa: SLF001


def _found(entries: list[Entry], part: int, place: int) -> _Position | None:
    if place >= len(entries):
        return None
    entry = entries[place]
    return _Position(entry, order_of(entry.path), part, place)


def _key(path: str) -> bytes | None:
    try:
        return order_of(path)
    except UnicodeEncodeError:  # a lone surrogate: no entry has such a path
        return None


def _prefix(directory: str) -> bytes | None:
    key = _key(directory)
    return key + b"\0" if key else key
