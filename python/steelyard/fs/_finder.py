"""Finding the object that a path names: an image name, a blob by its digest, an entry of a tree, or a directory of names."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from steelyard._runtime.concurrent import map_concurrently
from steelyard._runtime.lru import LruCache
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidArgument, InvalidImage, NotFound
from steelyard.fs._errors import not_directory, not_found
from steelyard.fs._found import Found, in_tree, listed_in
from steelyard.fs._paths import Target, candidates, joined, parse
from steelyard.images.limits import DEFAULT_LIMITS
from steelyard.images.media_types import kind_of
from steelyard.model import Descriptor, Image
from steelyard.trees import tree_of
from steelyard.trees._entry import Entry, entered
from steelyard.trees._lookup import TreeLookup, lookup_of

__all__ = ("Finder",)

_KEPT_ENTRIES = 131_072
_KEPT_TREES = 65_536
_KEPT_NAMES = 1024
_AT_ONCE = 16

_NO_TREE = object()


class Finder:
    """Finds the objects that paths name. It caches the documents of trees, by their digests, but no names, which may change at any time."""

    def __init__(self) -> None:
        self._entries: LruCache[str, list[Entry]] = LruCache(_KEPT_ENTRIES)
        self._trees: LruCache[str, Any] = LruCache(_KEPT_TREES)
        self._held_trees: LruCache[str, bool] = LruCache(_KEPT_NAMES)

    async def find(self, store: Store, path: str) -> Found:
        """Return the object that a path names. A link in a tree is followed, but never out of the tree.

        Raises:
            FileNotFoundError: the path does not exist.
        """
        found = (await self.find_many(store, [path]))[path]
        if isinstance(found, Exception):
            raise found
        return found

    async def find_many(self, store: Store, paths: Iterable[str]) -> dict[str, Found | Exception]:
        """Return the objects that paths name, or the errors that `find` raises. Each image name is looked up once."""
        targets = {path: parse(path) for path in paths}
        names = [each.path for each in targets.values() if each.path and each.is_name]
        named = await self._by_names(store, list(dict.fromkeys(names)))
        found: dict[str, Found | Exception] = {
            path: named[each.path] for path, each in targets.items() if each.path in named
        }

        async def one(path: str) -> None:
            try:
                found[path] = await self._other(store, targets[path])
            except Exception as error:  # noqa: BLE001  # the result carries it
                found[path] = error

        await _each([path for path in targets if path not in found], one)
        return found

    async def _other(self, store: Store, target: Target) -> Found:
        """Return the object at a path that no image name provides: a digest, or a directory of names."""
        if not target.path:
            return Found(path="", type="directory")
        if target.digest is not None:
            return await self._by_digest(store, target.path, target.digest, target.inner)
        if target.algorithm is None and await _names_below(store, target.path):
            return Found(path=target.path, type="directory")
        raise not_found(target.path)

    async def _by_digest(self, store: Store, path: str, digest: Digest, inner: str) -> Found:
        if not inner:
            info = await store.info(digest)
            tree = await self.tree(store, Descriptor(digest=digest, size=info.size))
            if tree is not None:
                return Found(path=path, type="directory", digest=digest, created=info.created_at, tree=tree)
            return Found(path=path, type="file", digest=digest, size=info.size, created=info.created_at)
        tree = await self.tree(store, Descriptor(digest=digest))
        if tree is None:
            raise not_directory(path) if await store.exists(digest) else not_found(path)
        found = await in_tree(tree, path, inner)
        if found is None:
            raise not_found(path)
        return found

    async def _by_names(self, store: Store, paths: Sequence[str]) -> dict[str, Found]:
        """Return the objects at the paths that image names provide. If several names provide a path, the shortest one counts.

        Names are looked up in rounds. For each path, the first round looks up its names, from the shortest to the first one that held a tree
        at an earlier look-up. If none did, the first round looks up all names of a single path, but only the shortest name of each of many
        paths, because its tree often has the rest.
        """
        looked: dict[str, Image | None] = {}
        found: dict[str, Found] = {}
        left = {path: list(candidates(path)) for path in paths}
        known = {path: self._depth(pairs) for path, pairs in left.items()}
        while left:
            rounds = {
                path: pairs[: known[path] or (1 if len(paths) > 1 else len(pairs))] for path, pairs in left.items()
            }

            async def look(name: str) -> None:
                try:
                    looked[name] = await store.images.get(name)
                except (NotFound, InvalidArgument):
                    looked[name] = None

            new = dict.fromkeys(name for pairs in rounds.values() for name, _ in pairs if name not in looked)
            await _each(list(new), look)
            for path, pairs in rounds.items():
                one = await self._first_with(store, path, [(looked[name], inner) for name, inner in pairs])
                if one is not None:
                    found[path] = one
                left[path] = left[path][len(pairs) :]
            left = {path: pairs for path, pairs in left.items() if pairs and path not in found}
            known = dict.fromkeys(left, 0)
        return found

    def _depth(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Return the place, from 1, of the first name that held a tree at its last look-up; 0 if there is no such name."""
        return next((place for place, (name, _) in enumerate(pairs, 1) if self._held_trees.get(name)), 0)

    async def _first_with(self, store: Store, path: str, images: Sequence[tuple[Image | None, str]]) -> Found | None:
        for image, inner in images:
            if image is None:
                continue
            if not inner:
                return await self.held(store, path, image)
            tree = await self.tree(store, image.target)
            if tree is not None and (found := await in_tree(tree, path, inner)) is not None:
                self._held_trees.add(image.name, True)
                return found
        return None

    async def held(self, store: Store, path: str, image: Image) -> Found:
        """Return the object that an image name holds: a directory for a tree, otherwise a file."""
        target = image.target
        tree = await self.tree(store, target)
        size = target.size
        if tree is None and size is None:
            info = (await store.infos([target.digest])).get(target.digest)
            size = None if info is None else info.size
        return Found(
            path=path,
            type="file" if tree is None else "directory",
            digest=target.digest,
            size=size if tree is None else 0,
            media_type=target.media_type,
            created=image.created_at,
            modified=image.updated_at,
            image=image,
            tree=tree,
        )

    async def children(self, store: Store, found: Found) -> list[Found]:
        """Return the entries of a directory, not recursively; for a name that is not a directory, the names below it."""
        if found.tree is None:
            is_named = found.type == "directory" or found.image is not None
            return await self._named(store, found.path) if is_named else []
        tree, entries = found.tree, []
        async with aclosing(tree.children(found.inner)) as children:
            async for entry in children:
                path = joined(found.path, entry.path.rpartition("/")[2])
                entries.append(await listed_in(tree, path, entry))
        return entries

    async def below(self, found: Found) -> AsyncGenerator[Found, None]:
        """Iterate over all entries below a directory in a tree, at any depth. A directory comes before its entries."""
        tree = found.tree
        assert tree is not None  # noqa: S101  # the caller has checked
        start, before = len(found.inner) + 1 if found.inner else 0, found.inner
        async with aclosing(tree.below(found.inner)) as entries:
            async for entry in entries:
                path = joined(found.path, entry.path[start:])
                directory = entry.path.rpartition("/")[0]
                if directory != before:
                    for each in entered(before, directory):
                        yield Found(path=joined(found.path, each[start:]), type="directory", tree=tree, inner=each)
                    before = directory
                if entry.kind != "directory" or not directory.startswith(entry.path):
                    yield await listed_in(tree, path, entry)

    async def names_below(self, store: Store, directory: str) -> list[str]:
        """Return the names in a directory, at any depth."""
        return [image.name for image in await _names_below(store, directory)]

    async def _named(self, store: Store, directory: str) -> list[Found]:
        """Return the names in a directory of names, and the directories in it."""
        prefix = f"{directory}/" if directory else ""
        held, directories = [], {}
        for image in await _names_below(store, directory):
            head, below, _ = image.name[len(prefix) :].partition("/")
            if below:
                path = f"{prefix}{head}"
                directories[path] = Found(path=path, type="directory")
            else:
                held.append(image)

        async def one(image: Image) -> Found:
            return await self.held(store, image.name, image)

        found = await map_concurrently(held, one, concurrency=_AT_ONCE)
        trees = {each.path for each in found if each.type == "directory"}
        others = [each for path, each in directories.items() if path not in trees]
        return sorted([*found, *others], key=lambda each: (each.path, each.type))

    async def tree(self, store: Store, target: Descriptor) -> TreeLookup | None:
        """Return the tree that a descriptor names, or None if it names an object of another kind, or one that cannot be read."""
        if target.media_type is not None and kind_of(target.media_type) not in {"index", "manifest"}:
            return None
        key = str(target.digest)
        kept = self._trees.get(key)
        if kept is not None:
            return None if kept is _NO_TREE else kept
        if target.media_type is None and not await _may_be_document(store, target.digest):
            return None
        try:
            # One name with a malformed tree must not make the list of all names fail.
            lookup = await lookup_of(store, await tree_of(store, target), self._entries)
        except NotFound:
            return None
        except (InvalidImage, DataCorrupt):
            self._trees.add(key, _NO_TREE)
            return None
        self._trees.add(key, lookup, lookup.weight)
        return lookup


async def _each(items: Sequence[str], function: Callable[[str], Awaitable[None]]) -> None:
    """Call a function with each item, several at a time. A single item gets no task, because a task costs more than most calls."""
    if len(items) == 1:
        await function(items[0])
    elif items:
        await map_concurrently(items, function, concurrency=_AT_ONCE)


async def _may_be_document(store: Store, digest: Digest) -> bool:
    """Return whether a blob is small enough for a document, and begins like one."""
    try:
        async with store.reader_at(digest) as reader:
            return reader.size <= DEFAULT_LIMITS.json_bytes and await reader.read_at(0, 1) == b"{"
    except NotFound:
        return False


async def _names_below(store: Store, directory: str) -> list[Image]:
    if not directory:
        return [image for image in await store.images.list() if _is_reachable(image.name)]
    expression = re.escape(f"{directory}/").replace("\\", "\\\\").replace('"', '\\"')
    try:
        images = await store.images.list(f'name~="^{expression}"')
    except InvalidArgument:  # a lone surrogate, or a control character: no name has such a path
        return []
    return [image for image in images if _is_reachable(image.name)]


def _is_reachable(name: str) -> bool:
    return all(name.split("/"))
