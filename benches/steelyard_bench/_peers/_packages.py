"""Peers from Python: what a person would write, and packages that people use."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

import anyio

from steelyard_bench._peers._shape import Peer, calling, each, needs_package

__all__ = (
    "aiofiles_put",
    "aiofiles_read",
    "dvc_put",
    "file_digest",
    "hashfs_put",
    "obstore_put",
    "plain_put",
    "plain_read",
)

_PIECE = 1 << 20
_AT_ONCE = 32


def plain_put(threads: int, *, durable: bool) -> Peer:
    """Hash while copying to a temporary name, then replace; durable with the syncs that a careful person adds."""
    syncs = "fdatasync, replace, fsync of the folder" if durable else "no sync at all"
    return Peer(
        name=f"plain Python, {'synced' if durable else 'unsynced'}",
        start=calling(partial(each, threads, partial(_plain, durable))),
        durable=durable,
        note=f"hashlib and open files, {_threads(threads)}: {syncs}; no resume, no rule for two writers",
        most=1000 if durable else None,
        python=True,
    )


def aiofiles_put() -> Peer:
    """Do the same by aiofiles."""

    def put(files: Sequence[Path], folder: Path) -> None:
        # A loop of its own, as it knows asyncio only, whatever the run is on.
        anyio.run(_aiofiles_all, files, folder)

    return Peer(
        name="aiofiles",
        start=calling(put),
        durable=False,
        note=f"read, hash and write by pieces of 1 MiB, {_AT_ONCE} files at once; no sync, hashing holds up the loop",
        python=True,
        available=needs_package("aiofiles", "aiofiles"),
    )


def obstore_put(threads: int) -> Peer:
    """Hash by hashlib, and give the file to obstore's LocalStore under its digest."""
    return Peer(
        name="obstore",
        start=calling(partial(each, threads, _obstore)),
        durable=False,
        note=f"hashlib, then LocalStore.put, {_threads(threads)}; no sync, reads twice",
        python=True,
        available=needs_package("obstore", "obstore"),
    )


def dvc_put() -> Peer:
    """Hash by hashlib, and add the files to a database of dvc-objects in one call."""
    return Peer(
        name="dvc-objects",
        start=calling(_dvc),
        durable=False,
        note="hashlib, then ObjectDB.add of all files; no sync, reads twice",
        python=True,
        available=needs_package("dvc_objects", "dvc-objects"),
    )


def hashfs_put(threads: int) -> Peer:
    """Put the files into hashfs."""
    return Peer(
        name="hashfs",
        start=calling(partial(each, threads, _hashfs)),
        durable=False,
        note=f"HashFS.put, {_threads(threads)}; no sync, reads twice in small pieces",
        python=True,
        available=needs_package("hashfs", "hashfs"),
    )


def file_digest(threads: int = 1) -> Peer:
    """Read and hash files."""
    return Peer(
        name="hashlib.file_digest",
        start=calling(partial(each, threads, _file_digest)),
        durable=None,
        note=f"reads and hashes, {_threads(threads)}",
        python=True,
    )


def plain_read(path: Path, memory: bytearray) -> None:
    """Read a file into memory that is there already."""
    with memoryview(memory) as view, path.open("rb", buffering=0) as file:
        at = 0
        while size := file.readinto(view[at : at + _PIECE]):
            at += size


def aiofiles_read(path: Path, memory: bytearray) -> None:
    """Do the same by aiofiles."""

    async def read() -> None:
        with memoryview(memory) as view:
            async with import_module("aiofiles").open(path, "rb", buffering=0) as file:
                at = 0
                while size := await file.readinto(view[at : at + _PIECE]):
                    at += size

    anyio.run(read)


def _threads(count: int) -> str:
    return "one file after the other" if count < 2 else f"{count} threads"


def _plain(durable: bool, source: Path, folder: Path) -> None:
    hasher = hashlib.sha256()
    partial_file = folder / f"{source.name}.partial"
    with source.open("rb", buffering=0) as reading, partial_file.open("xb", buffering=0) as writing:
        while chunk := reading.read(_PIECE):
            hasher.update(chunk)
            writing.write(chunk)
        if durable:
            os.fdatasync(writing.fileno())
    partial_file.replace(folder / hasher.hexdigest())
    if durable:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


async def _aiofiles_all(files: Sequence[Path], folder: Path) -> None:
    limiter = anyio.CapacityLimiter(_AT_ONCE)
    async with anyio.create_task_group() as tasks:
        for file in files:
            tasks.start_soon(_aiofiles, limiter, file, folder)


async def _aiofiles(limiter: anyio.CapacityLimiter, source: Path, folder: Path) -> None:
    aiofiles, aiofiles_os = import_module("aiofiles"), import_module("aiofiles.os")
    hasher = hashlib.sha256()
    partial_file = folder / f"{source.name}.partial"
    async with limiter, aiofiles.open(source, "rb") as reading, aiofiles.open(partial_file, "xb") as writing:
        while chunk := await reading.read(_PIECE):
            hasher.update(chunk)
            await writing.write(chunk)
    await aiofiles_os.replace(partial_file, folder / hasher.hexdigest())


def _obstore(source: Path, folder: Path) -> None:
    encoded = _digest(source)
    store = import_module("obstore.store").LocalStore(prefix=folder)
    import_module("obstore").put(store, f"{encoded[:2]}/{encoded}", source)


def _dvc(files: Sequence[Path], folder: Path) -> None:
    system = import_module("dvc_objects.fs.local").LocalFileSystem()
    database = import_module("dvc_objects.db").ObjectDB(system, str(folder))
    database.add([str(file) for file in files], system, [_digest(file) for file in files])


def _hashfs(source: Path, folder: Path) -> None:
    import_module("hashfs").HashFS(folder, algorithm="sha256").put(str(source))


def _file_digest(source: Path, _: Path) -> None:
    _digest(source)


def _digest(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
