"""One entry of an archive."""

from __future__ import annotations

from typing import Literal, cast

import msgspec

__all__ = ("Entry", "Kind", "entry_of")

Kind = Literal["regular", "directory", "symlink", "hardlink"]
"""The kinds of entries; devices, pipes and sparse files are refused."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """The headers of an entry.

    Attributes:
        index: its number, from 0.
        name: its name in the archive: components joined by ``/``, none of them ``.`` or ``..``; empty for the root.
        kind: its kind.
        size: the bytes of its data; 0 for all but regular files.
        data_offset: the offset of its data in the archive without compression.
        target: the name in the archive to which a link leads, or None if it is not a link.
        earlier: the number of the first entry with the same name, or None if this is the first.
    """

    index: int
    name: str
    kind: Kind
    size: int
    data_offset: int
    target: str | None
    earlier: int | None


def entry_of(row: tuple[int, str, str, int, int, str | None, int | None]) -> Entry:
    """Return the entry of a native row."""
    number, name, kind, *rest = row
    return Entry(number, name, cast("Kind", kind), *cast("tuple[int, int, str | None, int | None]", rest))
