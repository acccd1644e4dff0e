"""One entry of an archive, and where its links lead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from steelyard.errors import InvalidArchive

__all__ = ("Entry", "Kind", "resolve")

Kind = Literal["regular", "directory", "symlink", "hardlink"]
"""What an entry can be; devices, pipes and sparse files are refused."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What the headers of an entry agree on.

    Attributes:
        index: its number, from 0.
        name: its name within the archive: components joined by ``/``, none of them ``.`` or ``..``; empty for the root.
        kind: what it is.
        size: bytes of data; 0 for all but regular files.
        header_offset: where its first header begins, in bytes of the archive without compression.
        data_offset: where its data begins.
        target: the name within the archive that a link leads to, None for what is no link.
        earlier: the number of the first entry with the same name, None where this is the first.
    """

    index: int
    name: str
    kind: Kind
    size: int
    header_offset: int
    data_offset: int
    target: str | None
    earlier: int | None


def resolve(entries: Mapping[str, Entry], entry: Entry) -> Entry:
    """Follow an entry's links within the archive and return the entry that has the data; no path is ever opened.

    Args:
        entries: the archive's entries by name; what is left out counts as absent.
        entry: where to begin; what is no link is returned as it is.

    Raises:
        InvalidArchive: a link leads to no entry, or in a circle.
    """
    seen = {entry.name}
    found = entry
    while found.target is not None:
        target = entries.get(found.target)
        if target is None:
            raise InvalidArchive(entry.name, expected=f"an entry {found.target!r} for its link", found="none")
        if target.name in seen:
            raise InvalidArchive(entry.name, expected="a link that leads to a file", found="a circle of links")
        seen.add(target.name)
        found = target
    return found
