"""Stores a directory as a tree."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import msgspec

from steelyard._runtime.calls import run, run_always
from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.images.leases import lease_guard
from steelyard.model import DEFAULT_ALGORITHM, Descriptor, Image, OnProgress
from steelyard.names import check_name
from steelyard.trees._putting import Keep, Putting
from steelyard.trees._stat_cache import StatCache
from steelyard.trees._walk import walk

__all__ = ("StoredTree", "put_tree")


class StoredTree(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `put_tree`.

    Attributes:
        target: the descriptor of the tree.
        image: the image name that holds the tree, or None.
        files: the number of files.
        links: the number of symbolic links.
        bytes: the bytes of all files.
        read: the number of files that were read; the others had not changed.
        new: the number of files whose bytes were not stored before.
        skipped: the paths of sockets, devices and named pipes, with the reason.
        changed: the paths of files that changed while they were read. The bytes that were read are stored.
    """

    target: Descriptor
    image: Image | None
    files: int
    links: int
    bytes: int
    read: int
    new: int
    skipped: tuple[tuple[str, str], ...] = ()
    changed: tuple[str, ...] = ()


async def put_tree(
    store: Store,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    algorithm: Algorithm | str = DEFAULT_ALGORITHM,
    times: bool = False,
    owners: bool = False,
    cache: str | os.PathLike[str] | None = None,
    reread: bool = False,
    overwrite: bool = True,
    leave_out: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> StoredTree:
    """Store a directory as a tree: its files, and documents that name them. Return the tree.

    Equal directories give equal digests, on every machine. Files keep their bytes and the executable bit; symbolic links and
    empty directories are kept. Sockets, devices and named pipes are left out. If a file changes while it is read, the bytes that were read
    are stored, and the result lists the file. A lease protects the blobs until the name holds the tree.

    Args:
        store: the store.
        path: the directory.
        name: an image name for the tree. Without one, only leases and the grace time protect it from garbage collection.
        algorithm: the algorithm of the files' digests. The digests of the documents are always SHA-256.
        times: also keep the modification time of each file.
        owners: also keep the user ID and the group ID of each file.
        cache: a directory for a cache of digests by the status of files. With it, files that have not changed since the last
            call are not read again, unless their blobs are gone.
        reread: read all files, even with `cache`.
        overwrite: whether a `name` that holds another target is moved.
        leave_out: a directory below `path` to leave out, for example the root of the store.
        on_progress: called with `Progress` of phase ``write`` with the path of each file: `done` bytes of `total`.

    Raises:
        ExceptionGroup: files could not be read or stored. The tree is not stored; files that were stored stay as blobs. The
            group has the first 100 errors, each with a note of its path.
        NotADirectoryError, FileNotFoundError: `path` is not a directory.
        InvalidArgument: a name in the directory is not UTF-8, or `name` is invalid.
        AlreadyExists: without `overwrite`, `name` holds another tree.
        LimitExceeded: the tree has too many manifests for one index, which has room for some 25,000, of up to 8,192 entries each.

    Cancellation:
        The name is not set. Files that were stored stay as blobs, so the next call stores the rest.
    """
    if name is not None:
        check_name(name)
    top = os.fspath(path)
    algorithm = Algorithm.parse(algorithm)
    excluded = await run(_check, top, leave_out)
    caching = (
        None if cache is None else await run(partial(StatCache, ignored=reread), Path(cache), Path(top), algorithm)
    )
    done: Descriptor | None = None
    try:
        async with lease_guard(store) as guard:
            keep = Keep(times=times, owners=owners)
            putting = Putting(guard, top, algorithm, caching, keep=keep, on_progress=on_progress)
            target = await putting.run(walk(top, excluded))
            image = None
            if name is not None:
                (image,) = await guard.store.images.assign({name: target}, overwrite=overwrite)
            done = target
            return StoredTree(
                target=target,
                image=image,
                **putting.counts,
                skipped=tuple(putting.skipped),
                changed=tuple(putting.changed),
            )
    finally:
        if caching is not None:
            await run_always(partial(caching.finish, done))


def _check(top: str, leave_out: str | os.PathLike[str] | None) -> tuple[int, int] | None:
    """Return the device and the inode of the directory to leave out. Raises OSError if `top` is not a directory."""
    with os.scandir(top):
        pass
    if leave_out is None:
        return None
    try:
        status = os.stat(leave_out)  # noqa: PTH116  # a path of any type
    except OSError:
        return None
    return status.st_dev, status.st_ino
