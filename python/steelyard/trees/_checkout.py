"""Writes a tree into a directory."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from steelyard._runtime.calls import run, run_always
from steelyard._runtime.chunks import in_async_batches
from steelyard._runtime.concurrent import map_concurrently
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.images.leases import lease_guard
from steelyard.model import Descriptor, OnProgress
from steelyard.trees._tree import Tree, tree_of
from steelyard.trees._writing import AT_ONCE, Batch, CheckingOut

__all__ = ("CheckedOut", "checkout")

_MOST = 256
_MOST_BYTES = 4 << 20
"""The most bytes in a batch of entries. A batch takes one hop to inspect its places, and one to write its small files, which are in memory
together."""


class CheckedOut(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `checkout`.

    Attributes:
        target: the descriptor of the tree.
        files: the number of files of the tree.
        bytes: the bytes of all files.
        written: the number of files and links that were written; the others existed already.
        removed: the number of files, links and directories that were removed because the tree lacks them. A directory counts as one.
    """

    target: Descriptor
    files: int
    bytes: int
    written: int
    removed: int


async def checkout(
    store: Store,
    name: str | Descriptor | Digest,
    path: str | os.PathLike[str],
    *,
    delete: bool = False,
    hard_links: bool = False,
    owners: bool = False,
    on_progress: OnProgress | None = None,
) -> CheckedOut:
    """Write the files, links and directories of a tree into a directory.

    Each file is verified, and gets its name when it is complete. An existing file with the same bytes stays, so a repeated
    call after an interruption writes the rest. Nothing is written outside of `path`, whatever the tree and the directory
    contain: links are not followed. A large file shares its blocks with the store if the file system supports that (a reflink).

    Nothing is synced. After a power cut repeat the call: it compares the bytes of the files.

    Args:
        store: the store.
        name: see `tree_of`.
        path: the directory; it is created if it is missing.
        delete: remove files, links and directories that the tree lacks. Without it, a directory in the place of a file, or the reverse, is an
            error.
        hard_links: write files that are not executable as hard links to the store's own files, if `path` is on the file system of
            a `LocalStore`. Such a file is read-only: a program that changes it damages the blob.
        owners: set the user IDs and group IDs that the tree has.
        on_progress: called with `Progress` of phase ``write`` with the path of each file: `done` bytes of `total`.

    Raises:
        ExceptionGroup: some entries could not be written, for example because a directory is in the place of a file, or could not be
            removed; all others were. The group has the first 100 errors: `StorageError`, `NotFound` or `DataCorrupt`, each with a note of
            its path.
        NotFound, InvalidDocument, LimitExceeded, DataCorrupt: as in `tree_of` and `Tree.entries`. The entries before the error are
            written.
        StorageError: `path` cannot be made, opened or written to.

    Cancellation:
        Files that were written stay.
    """
    async with lease_guard(store, reads=True) as guard:
        tree = await tree_of(guard.store, name)
        await guard.protect([tree.target.digest])
        work = CheckingOut(guard.store, os.fspath(path), hard_links=hard_links, owners=owners, on_progress=on_progress)
        try:
            await run(work.open, str(tree.target.digest), delete)
            await map_concurrently(_inspected(work, tree), work.write, concurrency=AT_ONCE)
            await run(work.finish)
        finally:
            await run_always(work.close)
        work.check()
        return CheckedOut(target=tree.target, **work.counts)


async def _inspected(work: CheckingOut, tree: Tree) -> AsyncGenerator[Batch, None]:
    """Inspect the places of the entries, in order: one batch is inspected while others are written."""
    async with aclosing(in_async_batches(tree.entries(), lambda entry: entry.size or 0, _MOST, _MOST_BYTES)) as batches:
        async for entries in batches:
            yield await run(work.inspect, entries)
