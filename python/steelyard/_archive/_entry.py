"""One entry of an archive."""

from __future__ import annotations

from typing import Literal, cast

import msgspec

__all__ = ("Entry", "Kind", "entry_of")

Kind = Literal["regular", "directory", "symlink", "hardlink"]
"""What an entry can be; devices, pipes and sparse files are refused."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What the headers of an entry agree on.

    Attributes:
        index: its number, from 0.
        name: its name within the archive: components joined by ``/``, none of them ``.`` or ``..``; empty for the root.
        kind: what it is.
        size: bytes of data; 0 for all but regular files.
        data_offset: where its data begins, in bytes of the archive without compression.
        target: the name within the archive that a link leads to, None for what is no link.
        earlier: the number of the first entry with the same name, None where this is the first.
    """

    index: int
    name: str
    kind: Kind
    size: int
    data_offset: int
    target: str | None
    earlier: int | None


def entry_of(row: tuple[int, str, str, int, int, str | None, int | None]) -> Entry:
    """Return the entry that native code describes."""
    number, name, kind, *rest = row
    return Entry(number, name, cast("Kind", kind), *cast("tuple[int, int, str | None, int | None]", rest))
