"""A walk through a directory, in the order of a tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from typing import Literal

import msgspec

from steelyard.errors import InvalidArgument

__all__ = ("FoundKind", "Walk", "WalkEntry", "check_utf8", "walk")

FoundKind = Literal["file", "link", "directory", "skipped", "error"]

_PART_ENTRIES = 2048
"""The entries of one part of a walk: one hop to a thread, and several batches of small files."""


class WalkEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a walk.

    Attributes:
        path: where it is, below the directory as the caller named it.
        kind: a regular file, a symbolic link, an empty directory, an entry that is left out, or an error.
        status: the status of a file.
        reason: the reason for leaving it out.
        error: why it cannot be read.
    """

    path: str
    kind: FoundKind
    status: os.stat_result | None = None
    reason: str = ""
    error: OSError | None = None


def walk(top: str, leave_out: tuple[int, int] | None) -> Iterator[WalkEntry]:
    """Iterate over what is below a directory: part by part, each in the order of its name.

    Links are not followed, so no loop is entered. Memory: the names of the directories on the way down.

    Args:
        top: the directory; if it is a link, it is followed.
        leave_out: the device and the inode of a directory that is left out, such as the store's own root.
    """
    stack: list[Iterator[os.DirEntry[str]]] = []
    pending: str | None = top
    while pending is not None or stack:
        if pending is not None:
            yield from _enter(pending, leave_out, stack)
            pending = None
            continue
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif entry.is_dir(follow_symlinks=False):
            pending = entry.path
        else:
            yield _found(entry)


def _enter(
    path: str, leave_out: tuple[int, int] | None, stack: list[Iterator[os.DirEntry[str]]]
) -> Iterator[WalkEntry]:
    try:
        if leave_out is not None and _identity(path) == leave_out:
            yield WalkEntry(path=path, kind="skipped", reason="the store itself")
            return
        with os.scandir(path) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        yield WalkEntry(path=path, kind="error", error=error)
        return
    if not entries and stack:
        yield WalkEntry(path=path, kind="directory")
    stack.append(iter(entries))


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116  # a path as the caller named it
    return status.st_dev, status.st_ino


def _found(entry: os.DirEntry[str]) -> WalkEntry:
    if entry.is_symlink():
        return WalkEntry(path=entry.path, kind="link")
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        return WalkEntry(path=entry.path, kind="error", error=error)
    if stat.S_ISREG(status.st_mode):
        return WalkEntry(path=entry.path, kind="file", status=status)
    return WalkEntry(path=entry.path, kind="skipped", reason="special file")


class Walk:
    """A walk, taken in parts, so that memory is bounded."""

    def __init__(self, entries: Iterator[WalkEntry]) -> None:
        self._entries = entries

    def take(self) -> list[WalkEntry]:
        """Return the next part, empty at the end. It reads directories: call it on a thread."""
        return list(islice(self._entries, _PART_ENTRIES))


def check_utf8(text: str, path: str) -> None:
    """Refuse the name of a file, or the target of a link, that a document cannot contain.

    Raises:
        InvalidArgument: it is not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InvalidArgument(f"{shown}: expected a name in UTF-8, found other bytes") from None
