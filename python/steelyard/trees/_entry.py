"""The entries of a tree, their paths and their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from steelyard.digest import Digest

__all__ = ("INLINE_ENTRIES", "WHOLE_BYTES", "Entry", "EntryKind", "entered", "order_of", "path_fault")

_PART = r"(?!\.{1,2}(?:/|\Z))[^/\0]+"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")

WHOLE_BYTES = 1 << 20
"""Files up to this size, in bytes, are read whole, many in one hop to a thread. Larger files are read in pieces."""

INLINE_ENTRIES = 500
"""Entries that are examined or yielded before other tasks run: they take less than a millisecond."""

EntryKind = Literal["file", "link", "directory"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A file, a symbolic link or a directory of a tree.

    Attributes:
        path: the path below the root of the tree, with ``/`` between its parts.
        kind: a regular file, a symbolic link, or a directory. A directory has an entry of its own if it is empty.
        digest: the digest of a file's bytes.
        size: the size of a file in bytes.
        executable: whether the owner of a file may execute it.
        target: the target of a link: any text, never followed.
        mtime_ns: the modification time of a file, in nanoseconds since 1970, if the tree has it.
        owner: the user ID and the group ID of a file, if the tree has them.
    """

    path: str
    kind: EntryKind = "file"
    digest: Digest | None = None
    size: int | None = None
    executable: bool = False
    target: str | None = None
    mtime_ns: int | None = None
    owner: tuple[int, int] | None = None


def order_of(path: str) -> bytes:
    """Return the key by which the entries of a tree are ordered: part by part, each by its bytes in UTF-8.

    So the entries below a directory are adjacent, and follow the entry of the directory itself, if there is one.
    """
    return path.encode().replace(b"/", b"\0")


def entered(before: str, directory: str) -> Iterator[str]:
    """Iterate over the directories that a walk enters on its way from one directory of a tree to another, from the top down."""
    left, end = f"{before}/", 0
    while directory and end < len(directory):
        end = directory.find("/", end + 1)
        end = len(directory) if end < 0 else end
        if not left.startswith(f"{directory[:end]}/"):
            yield directory[:end]


def path_fault(path: str) -> str | None:
    """Return the reason why a text is not a valid path of an entry, or None if it is valid."""
    if _PATH.fullmatch(path):
        return None
    if not path:
        return "an empty path"
    if "\0" in path:
        return "a path with a null character"
    return "an absolute path" if path.startswith("/") else "a path with an empty part, . or .."
