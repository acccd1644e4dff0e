"""The files and directories that paths name. In a tree, links are followed."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from steelyard.digest import Digest
from steelyard.model import Image
from steelyard.trees._entry import Entry
from steelyard.trees._lookup import TreeLookup

__all__ = ("Found", "in_tree", "listed_in")

_MOST_LINKS = 40
"""The most links that are followed for one path, as on Linux."""

_MOST_TARGET = 4096

Type = Literal["file", "directory", "link"]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A file, a directory or a link that a path names.

    Attributes:
        path: the path.
        type: a file, a directory, or a link that leads to no file.
        digest: the digest of a file's bytes, or of the document of a tree.
        size: the size in bytes; None if unknown, 0 for a directory.
        media_type: the media type in the descriptor that the name holds.
        executable: whether a file of a tree is executable.
        destination: the target of a link.
        created: the time at which the name was created, or the blob was stored.
        modified: the time at which the name was last set, or the modification time of a file of a tree, if the tree has one.
        image: the image name, if the path is one.
        tree: the tree that a directory belongs to.
        inner: the path of the directory in that tree.
    """

    path: str
    type: Type
    digest: Digest | None = None
    size: int | None = 0
    media_type: str | None = None
    executable: bool = False
    destination: str | None = None
    created: datetime | None = None
    modified: datetime | None = None
    image: Image | None = None
    tree: TreeLookup | None = None
    inner: str = ""

    def info(self) -> dict[str, Any]:
        """Return the dictionary that fsspec's `info` returns."""
        is_directory = self.type == "directory"
        kind = {"file": 0o100000, "directory": 0o040000, "link": 0o120000}[self.type]
        found: dict[str, Any] = {
            "name": self.path,
            "size": self.size,
            "type": self.type,
            "digest": None if self.digest is None else str(self.digest),
            "mode": kind | (0o755 if is_directory or self.executable else 0o777 if self.type == "link" else 0o644),
            "islink": self.destination is not None,
        }
        optional = {
            "media_type": self.media_type,
            "destination": self.destination,
            "created": self.created,
            "mtime": self.modified,
        }
        return found | {key: value for key, value in optional.items() if value is not None}


async def in_tree(tree: TreeLookup, path: str, inner: str) -> Found | None:
    """Return the file, directory or link at a path in a tree, or None. Raises NotADirectoryError if the path leads through a file."""
    parts = inner.split("/")
    if {"", ".", ".."} & set(parts):
        return None
    link = await tree.find(inner)
    entry = link
    if entry is None or entry.kind == "link":
        entry = await _follow(tree, parts)
    if link is not None and link.kind != "link":
        link = None
    if entry is None:
        return None if link is None else Found(path=path, type="link", destination=link.target)
    return _of_entry(path, entry, tree, None if link is None else link.target)


async def listed_in(tree: TreeLookup, path: str, entry: Entry) -> Found:
    """Return an entry of a directory. A link to a directory is returned as a link, so that no walk follows it."""
    if entry.kind != "link":
        return _of_entry(path, entry, tree, None)
    leads_to = await _follow(tree, entry.path.split("/"))
    if leads_to is None or leads_to.kind == "directory":
        return Found(path=path, type="link", destination=entry.target)
    return _of_entry(path, leads_to, tree, entry.target)


def _of_entry(path: str, entry: Entry, tree: TreeLookup, destination: str | None) -> Found:
    if entry.kind == "directory":
        return Found(path=path, type="directory", destination=destination, tree=tree, inner=entry.path)
    return Found(
        path=path,
        type="file",
        digest=entry.digest,
        size=entry.size,
        executable=entry.executable,
        destination=destination,
        modified=None if entry.mtime_ns is None else datetime.fromtimestamp(entry.mtime_ns / 1e9, UTC),
    )


async def _follow(tree: TreeLookup, parts: list[str]) -> Entry | None:
    """Return the file or directory that a path leads to, resolved part by part as in a file system; None if it leaves the tree or does not exist."""
    rest, here, links = deque(parts), list[str](), 0
    entry: Entry | None = Entry(path="", kind="directory")
    while rest:
        part = rest.popleft()
        if part in {"", "."}:
            continue
        if part == "..":
            if not here:
                return None
            here.pop()
            entry = await tree.find("/".join(here))
            continue
        entry = await tree.find("/".join([*here, part]))
        if entry is None or (entry.kind == "file" and rest):
            return None
        if entry.kind != "link":
            here.append(part)
            continue
        links, target = links + 1, entry.target or ""
        if links > _MOST_LINKS or target.startswith("/") or len(target) > _MOST_TARGET:
            return None
        rest.extendleft(reversed(target.split("/")))
        entry = await tree.find("/".join(here))
    return entry
