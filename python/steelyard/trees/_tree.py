"""Reads the trees of a store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import final

import msgspec
from anyio.lowlevel import checkpoint

from steelyard._archive import _json
from steelyard._runtime.chunks import slices
from steelyard.content import Provider, Store
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidDocument, LimitExceeded, NotFound
from steelyard.images._off_loop import off_loop
from steelyard.images.documents import Index, Manifest, OCIDescriptor
from steelyard.images.leases import LeaseGuard
from steelyard.images.limits import DEFAULT_LIMITS
from steelyard.images.parse import check_json
from steelyard.images.read import describe, read_document
from steelyard.model import Descriptor
from steelyard.trees._entry import INLINE_ENTRIES, Entry, order_of
from steelyard.trees._format import CONFIG, TREE, Config, check_order, check_tree, entries_of

__all__ = ("Tree", "protect_tree", "tree_of")


@final
class Tree:
    """A tree in a store. `tree_of` opens a tree.

    Attributes:
        target: the descriptor of the tree's manifest or index.
    """

    def __init__(self, provider: Provider, root: OCIDescriptor, view: Index | Manifest) -> None:
        self.target: Descriptor = root.target
        self._provider = provider
        self._root = root
        self._view = view

    def __repr__(self) -> str:
        return f"<Tree {self.target.digest}>"

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """Iterate over the files, links and empty directories, in order (`order_of`). One manifest is in memory at a time.

        Raises:
            NotFound: a document of the tree is not stored.
            InvalidDocument: a document is malformed, a path leads out of the tree, or two entries have the same path.
            LimitExceeded, DataCorrupt: as in `steelyard.images.read_document`.
        """
        last: Entry | None = None
        for descriptor, manifest in self._manifests():
            entries = await self._entries_in(descriptor, manifest)
            check_order([*([last] if last else []), *entries[:1]], descriptor.digest)
            for some in slices(entries, INLINE_ENTRIES):
                await checkpoint()
                for entry in some:
                    yield entry
            last = entries[-1] if entries else last

    async def find(self, path: str) -> Entry:
        """Return the entry with that path. Raises NotFound, and the errors of `entries`."""
        try:
            key = order_of(path)
        except UnicodeEncodeError:  # a lone surrogate: no entry has such a path
            raise NotFound(path, kind="entry of the tree") from None
        async with aclosing(self.entries()) as entries:
            async for entry in entries:
                if order_of(entry.path) >= key:
                    if entry.path == path:
                        return entry
                    break
        raise NotFound(path, kind="entry of the tree")

    def _manifests(self) -> list[tuple[OCIDescriptor, Manifest | None]]:
        return _manifests_of(self._root, self._view)

    async def _entries_in(self, descriptor: OCIDescriptor, manifest: Manifest | None) -> list[Entry]:
        if manifest is None:
            view = (await read_document(self._provider, descriptor)).view
            if not isinstance(view, Manifest) or view.artifact_type != TREE:
                raise InvalidDocument(
                    descriptor.digest, expected=f"a manifest of the type {TREE}", actual="another kind"
                )
            manifest = view
        config, name = await self._config(manifest), descriptor.digest
        return await off_loop(descriptor.size, lambda: entries_of(manifest, config, name))

    async def _config(self, manifest: Manifest) -> Config:
        descriptor = manifest.config
        if manifest.artifact_type != TREE or descriptor.media_type != CONFIG:
            return Config()
        data = (await read_document(self._provider, descriptor)).raw
        return await off_loop(len(data), lambda: _parse_config(data, descriptor.digest))


async def tree_of(store: Store, name: str | Descriptor | Digest) -> Tree:
    """Open a tree of a store. This reads the root document; the other documents are read together with the entries.

    Args:
        store: the store.
        name: an image name, or the descriptor or the digest of the tree.

    Raises:
        NotFound: the name does not exist, or the root document is not stored.
        InvalidDocument: the document is not a tree: neither a document of `put_tree`, nor a manifest whose layers have titles, as oras writes.
        LimitExceeded, DataCorrupt: as in `steelyard.images.read_document`.
    """
    target: Descriptor | Digest = (await store.images.get(name)).target if isinstance(name, str) else name
    root = await describe(store, target)
    view = (await read_document(store, root)).view
    if not isinstance(view, Index | Manifest):
        raise InvalidDocument(root.digest, expected="a tree", actual=root.media_type)
    check_tree(view, root.digest)
    return Tree(store, root, view)


async def protect_tree(guard: LeaseGuard, target: Descriptor) -> bool:
    """Protect a tree: its documents, and so the blobs that they name. Return whether all documents of the tree are stored."""
    if target.size is None or not await guard.find_stored({target.digest: target.size}):
        return False
    try:
        root = await describe(guard.store, target)
        view = (await read_document(guard.store, root)).view
    except (NotFound, InvalidDocument, LimitExceeded, DataCorrupt):
        return False
    if not isinstance(view, Index | Manifest):
        return False
    documents = {descriptor.blob: descriptor.size for descriptor, _ in _manifests_of(root, view)}
    return len(await guard.find_stored(documents)) == len(documents)


def _manifests_of(root: OCIDescriptor, view: Index | Manifest) -> list[tuple[OCIDescriptor, Manifest | None]]:
    """Return the descriptors of a tree's manifests. If the tree is a single manifest, its descriptor comes with the manifest."""
    if isinstance(view, Manifest):
        return [(root, view)]
    return [(descriptor, None) for descriptor in view.children]


def _parse_config(data: bytes, name: str) -> Config:
    check_json(data, name=name, limits=DEFAULT_LIMITS)
    try:
        return _json.decode(data, Config)
    except msgspec.MsgspecError as error:
        raise InvalidDocument(name, expected="the config of a tree", actual=str(error)) from None
