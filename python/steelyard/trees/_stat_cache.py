"""A cache of digests by the status of files, so that an unchanged file is not read again.

The cache is a separate file, not part of a store. It belongs to one directory, and works with every store. Its rows are in the order of the
tree, so it is read alongside a walk, with one block in memory. A lost or damaged cache only costs time.

**When a row is valid.** The device, the inode, the size and both times of the file equal those in the row. A row is written only if the file
had not changed for a while when it was read. Otherwise a change within the granularity of the file system's clock would go unnoticed, as
git's documentation explains under "racy git".
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
from steelyard.model import Descriptor
from steelyard.trees._entry import order_of
from steelyard.trees._walk import Identity

__all__ = ("Row", "StatCache", "may_be_kept")

_MAGIC = b"steelyard stat cache 2\n"
_BLOCK_ROWS = 2048
_HEADER = struct.Struct("<II")
"""The size in bytes and the checksum of a block."""

_TREE_BYTES = 512
"""The bytes reserved for the first block, the descriptor of the tree with these rows. It is known only at the end, and is written then."""

_SETTLED_NS = 2_000_000_000
"""A file that changed more recently than this may change again without a new time: FAT keeps times in steps of 2 s."""


class Row(NamedTuple):
    """The digest of a file, and the file's identity when it was read."""

    path: str
    identity: Identity
    digest: str


def may_be_kept(identity: Identity, now_ns: int) -> bool:
    """Return whether a file with that identity had not changed for long enough at `now_ns`, before it was read."""
    return max(identity[3:]) + _SETTLED_NS < now_ns


class StatCache:
    """The cache of one directory. It reads the rows of the last run, and writes the rows of this run, both in order.

    Its methods block.

    Args:
        folder: the directory for the caches of all directories; it is created if it is missing.
        directory: the directory.
        algorithm: the algorithm of the digests.
        ignored: whether the rows of the last run are ignored.

    Attributes:
        tree: the tree with the rows of the last run, or None if there are no rows.
    """

    def __init__(self, folder: Path, directory: Path, algorithm: str, *, ignored: bool = False) -> None:
        key = hashlib.sha256(os.fsencode(directory.resolve()) + b"\0" + algorithm.encode()).hexdigest()
        self._path = folder / key[:40]
        self._rows = iter(()) if ignored else _rows(self._path)
        self.tree: Descriptor | None = None if ignored else _tree(self._path)
        self._next: Row | None = None
        self._written: list[Row] = []
        self._file: BinaryIO | None = None
        self._has_failed = False

    def find(self, path: str, identity: Identity) -> Row | None:
        """Return the row of a file if it is valid, otherwise None. Call this with paths in order."""
        row = self._next
        if row is None or row.path != path:
            key = order_of(path)
            while row is None or order_of(row.path) < key:
                row = self._next = next(self._rows, None)
                if row is None:
                    self._rows = iter(())
                    return None
        return row if row.path == path and row.identity == identity else None

    def add(self, rows: list[Row]) -> None:
        """Add rows to the rows of this run, in order. After an error, for example of a full disk, they are dropped."""
        if self._has_failed:
            return
        self._written += rows
        if len(self._written) >= _BLOCK_ROWS:
            self._try_write_block()

    def _try_write_block(self) -> None:
        try:
            self._write_block()
        except OSError:
            self._has_failed = True
            self._written = []

    def _write_block(self) -> None:
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = open(descriptor, "wb", buffering=0)  # noqa: PTH123, SIM115  # closed by `finish`
            self._temporary = name
            self._file.write(_MAGIC + bytes(_TREE_BYTES))
        self._file.write(_block(msgspec.msgpack.encode(self._written)))
        self._written = []

    def finish(self, tree: Descriptor | None) -> None:
        """Replace the rows of the last run by the rows of this run, which are those of `tree`.

        Without a tree, or if a row of this run could not be written, the rows of the last run stay.
        """
        if tree is not None and self._written:
            self._try_write_block()
        if self._has_failed:
            tree = None
        if self._file is None:
            return
        with suppress(OSError):
            if tree is not None:
                self._file.seek(len(_MAGIC))
                self._file.write(_block(msgspec.msgpack.encode((str(tree.digest), tree.size, tree.media_type))))
        self._file.close()
        with suppress(OSError):
            if tree is not None:
                # DURABILITY: not synced. After a power cut the file may be empty or damaged; the checksums show that.
                self._temporary.replace(self._path)
            else:
                self._temporary.unlink()
        self._file = None


def _block(data: bytes) -> bytes:
    return _HEADER.pack(len(data), zlib.crc32(data)) + data


def _data(header: bytes, file: BinaryIO) -> bytes | None:
    """Return the bytes of the block with that header, or None if the block is damaged."""
    size, checksum = _HEADER.unpack(header)
    data = file.read(size)
    return data if zlib.crc32(data) == checksum else None


def _tree(path: Path) -> Descriptor | None:
    """Return the tree with the rows of a cache file, or None if the file is missing or damaged."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC or (data := _data(file.read(_HEADER.size), file)) is None:
                return None
            digest, size, media_type = msgspec.msgpack.decode(data, type=tuple[str, int, str])
            return Descriptor(digest=Digest.parse(digest), size=size, media_type=media_type)
    except (OSError, struct.error, msgspec.DecodeError, MemoryError):
        return None


def _rows(path: Path) -> Iterator[Row]:
    """Iterate over the rows of a cache file, up to the first damaged block."""
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return
            file.seek(_TREE_BYTES, os.SEEK_CUR)
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                if (data := _data(header, file)) is None:
                    return
                yield from msgspec.msgpack.decode(data, type=list[Row])
    except (OSError, msgspec.DecodeError, MemoryError):
        return
