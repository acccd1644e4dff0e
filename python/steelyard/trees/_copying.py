"""Compares existing files with entries, and writes files by copies or hard links."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress

from steelyard._archive import copy_hashed
from steelyard._runtime.calls import OpenFile, run
from steelyard.content import ReaderAt
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt
from steelyard.hashing import Hasher, digest_of
from steelyard.images._pieces import file_of
from steelyard.images.layout._files import NewFile, closing_fd, fresh_name
from steelyard.model import FileRange
from steelyard.trees._destination import Destination, replace
from steelyard.trees._entry import Entry

__all__ = ("fill", "is_same", "is_there", "link_file", "may_be_same")

_FICLONE = 0x40049409
"""The ioctl request of Linux by which a file shares the blocks of another."""

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOENT}
"""The errors of `link` when a hard link is not possible: another file system, a file of another user, too many links, a deleted blob."""

_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ = 256 << 10


def may_be_same(found: os.stat_result, entry: Entry) -> bool:
    """Return whether a file has the kind, the size and the executable bit of the entry."""
    is_executable = bool(found.st_mode & 0o100)
    return stat.S_ISREG(found.st_mode) and found.st_size == entry.size and is_executable == entry.executable


def is_same(directory: int, name: str, digest: Digest) -> bool:
    """Return whether the bytes of a small file have this digest."""
    hasher = Hasher(digest.algorithm)
    with closing_fd(os.open(name, _READ_FLAGS, dir_fd=directory)) as number:
        if stat.S_ISREG(os.fstat(number).st_mode):
            while piece := os.read(number, _READ):
                hasher.update(piece)
    return hasher.digest() == digest


async def fill(file: NewFile, reader: ReaderAt) -> None:
    """Write the bytes of a blob into a file, and verify them."""
    number, digest = file_of(reader), reader.digest
    if number is None:
        async with reader.stream() as stream:
            async for piece in stream:
                await run(file.write, piece)
        return
    if await run(_clone, number, file.number):
        found = await digest_of(FileRange(file.number, 0, reader.size), algorithm=digest.algorithm)
    else:
        encoded = await copy_hashed((number, 0), (file.number, 0), reader.size, digest.algorithm)
        found = Digest(digest.algorithm, encoded)
    if found != digest:
        raise DataCorrupt(digest, expected=digest, actual=found)


def _clone(source: int, target: int) -> bool:
    """Make a new file share the blocks of another, on a thread; return whether the file system supports that."""
    with suppress(OSError):
        fcntl.ioctl(target, _FICLONE, source)
        return True
    return False


async def is_there(place: Destination, entry: Entry, digest: Digest) -> bool:
    """Return whether the existing large file at the place of the entry has this digest."""
    file = await run(_open_existing, place, entry)
    try:
        return await digest_of(FileRange(file.fileno(), 0, entry.size or 0), algorithm=digest.algorithm) == digest
    finally:
        file.close()


def _open_existing(place: Destination, entry: Entry) -> OpenFile:
    directory, name = place.enter(entry)
    return OpenFile(os.open(name, _READ_FLAGS, dir_fd=directory))


def link_file(place: Destination, path: str, entry: Entry) -> bool:
    """Create a hard link to a file of the store, on a thread; return whether that is possible."""
    directory, name = place.enter(entry)
    temporary = fresh_name()
    try:
        # DURABILITY: not synced; the store has its own name for the file.
        os.link(path, temporary, dst_dir_fd=directory)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    replace(directory, temporary, name)
    return True
