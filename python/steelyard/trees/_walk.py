"""A walk through a directory, in the order of a tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal, TypeAlias

from steelyard._native import DirectoryWalk
from steelyard.errors import InvalidArgument

__all__ = (
    "PART_ENTRIES",
    "FoundKind",
    "Identity",
    "WalkEntry",
    "check_utf8",
    "error_of",
    "identity_in",
    "identity_of",
    "reason_of",
    "walk",
)

PART_ENTRIES = 2048
"""The most entries in one part of a walk. A part takes one hop to a thread, and has several batches of small files."""

FoundKind: TypeAlias = Literal["file", "link", "directory", "special", "left out", "error"]
"""A regular file, a symbolic link, an empty directory, an entry of another kind, the excluded directory, or an error."""

Identity: TypeAlias = tuple[int, int, int, int, int]
"""The device, the inode, the size, and the modification and change times of a file, in nanoseconds since 1970. At least one of them changes
when the bytes change."""

WalkEntry: TypeAlias = tuple[str, FoundKind, Identity | None, int, tuple[int, int] | None, str | int | None]
"""The path, which begins with the directory as the caller named it; the kind; the identity, the permission bits, and the user and group of a
file; and the target of a link, or the errno of an error."""


def walk(top: str, leave_out: tuple[int, int] | None) -> Iterator[list[WalkEntry]]:
    """Iterate over the entries below a directory, in parts of at most `PART_ENTRIES`. This reads directories, so iterate on a thread.

    Links are not followed, so the walk cannot loop. Memory: the names in the directories on the current path.

    Args:
        top: the directory; if it is a link, it is followed.
        leave_out: the device and the inode of a directory to leave out, such as the root of the store.
    """
    found = DirectoryWalk(top, leave_out)
    while part := found.take(PART_ENTRIES):
        yield part


def identity_of(path: str) -> Identity | None:
    """Return the identity of a file, or None if it does not exist. A link is not followed."""
    try:
        return identity_in(os.lstat(path))
    except OSError:
        return None


def identity_in(status: os.stat_result) -> Identity:
    """Return the identity of a file with that status."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def reason_of(kind: FoundKind) -> str | None:
    """Return the reason why a tree cannot contain an entry of this kind, or None if it can, or if the entry is an error."""
    return {"special": "special file", "left out": "the store itself"}.get(kind)


def error_of(path: str, number: str | int | None) -> OSError:
    """Return the error for an entry that cannot be read."""
    code = number if isinstance(number, int) else 0
    return OSError(code, os.strerror(code), path)


def check_utf8(text: str, path: str) -> None:
    """Check that a document can contain the name of a file, or the target of a link.

    Raises:
        InvalidArgument: the text is not valid UTF-8.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InvalidArgument(f"{shown}: expected a name in UTF-8, found other bytes") from None
