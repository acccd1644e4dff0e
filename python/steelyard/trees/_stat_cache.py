"""A cache of digests by the status of files, so that a file that did not change is not read again.

It is a file beside no store: it belongs to a directory, and holds for every store. Its rows are in the order of the tree, so it is read
along with a walk, with memory for one block. A lost or damaged cache only costs time.

**When a row counts.** Device, inode, size, and both times of the file are those of the row, and the row was written only if the file had
not changed for a while when it was read. Otherwise a change within the granularity of the file system's clock would go unnoticed, as
git's index explains ("racy git").
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from steelyard.digest import Digest
from steelyard.trees._entry import order_of

__all__ = ("Row", "StatCache", "may_be_kept")

_MAGIC = b"steelyard stat cache 1\n"
_BLOCK_ROWS = 2048
_HEADER = struct.Struct("<II")
"""Bytes and checksum of a block."""

_SETTLED_NS = 2_000_000_000
"""A file that changed more recently may change again without another time: FAT keeps times in steps of 2 s."""


class Row(NamedTuple):
    """The digest of a file, and its status when it was read."""

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    digest: str

    @classmethod
    def of(cls, path: str, status: os.stat_result, digest: Digest) -> Row:
        """Return the row of a file with that status."""
        return cls(path, *identity(status), str(digest))


def identity(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """Return what changes with a file's bytes."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def may_be_kept(status: os.stat_result, now_ns: int) -> bool:
    """Whether a file that was read after `now_ns` with that status has not changed for long enough."""
    return max(status.st_mtime_ns, status.st_ctime_ns) + _SETTLED_NS < now_ns


class StatCache:
    """The cache of one directory: the rows of the last run are read, and those of this run written, both in order.

    Its methods block.

    Args:
        folder: where the caches of all directories are; it is made if it is missing.
        directory: the directory.
        algorithm: the algorithm of the digests.
        ignored: whether the rows of the last run are ignored.
    """

    def __init__(self, folder: Path, directory: Path, algorithm: str, *, ignored: bool = False) -> None:
        key = hashlib.sha256(os.fsencode(directory.resolve()) + b"\0" + algorithm.encode()).hexdigest()
        self._path = folder / key[:40]
        self._rows = iter(()) if ignored else _rows(self._path)
        self._next: Row | None = None
        self._written: list[Row] = []
        self._file: BinaryIO | None = None

    def find(self, path: str, status: os.stat_result) -> Row | None:
        """Return the row of a file if it counts. Paths are asked for in order."""
        row = self._next
        if row is None or row.path != path:
            key = order_of(path)
            while row is None or order_of(row.path) < key:
                row = self._next = next(self._rows, None)
                if row is None:
                    self._rows = iter(())
                    return None
        return row if row.path == path and row[1:6] == identity(status) else None

    def add(self, rows: list[Row]) -> None:
        """Add rows to those of this run, in order. A full disk ends the cache, and nothing else."""
        self._written += rows
        if len(self._written) >= _BLOCK_ROWS:
            with suppress(OSError):
                self._write_block()

    def _write_block(self) -> None:
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = open(descriptor, "wb", buffering=0)  # noqa: PTH123, SIM115  # closed by `finish`
            self._temporary = name
            self._file.write(_MAGIC)
        data = msgspec.msgpack.encode(self._written)
        self._file.write(_HEADER.pack(len(data), zlib.crc32(data)) + data)
        self._written = []

    def finish(self, *, keep: bool) -> None:
        """Replace the rows of the last run by those of this one, or leave them as they are."""
        if keep and self._written:
            with suppress(OSError):
                self._write_block()
        if self._file is None:
            return
        self._file.close()
        with suppress(OSError):
            if keep:
                # DURABILITY: not synced. After a power cut the file may be empty or damaged, which its checksums show.
                self._temporary.replace(self._path)
            else:
                self._temporary.unlink()
        self._file = None


def _rows(path: Path) -> Iterator[Row]:
    """Iterate over the rows of a file, up to the first damage."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                size, checksum = _HEADER.unpack(header)
                data = file.read(size)
                if zlib.crc32(data) != checksum:
                    return
                yield from msgspec.msgpack.decode(data, type=list[Row])
    except (OSError, msgspec.DecodeError, MemoryError):
        return
