"""Writing archives: where everything goes is known before the first byte is written."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from steelyard._native import tar_layout

__all__ = ("END", "Layout", "Member", "Place", "layout", "padding")

_BLOCK = 512

END = bytes(2 * _BLOCK)
"""What ends an archive."""


class Member(msgspec.Struct, frozen=True, gc=False):
    """What is to be written.

    Attributes:
        name: relative, without ``.``, ``..`` and empty parts.
        size: bytes of data; 0 for a directory.
        mode: permission bits.
        directory: whether it is a directory and not a regular file.
    """

    name: str
    size: int = 0
    mode: int = 0o444
    directory: bool = False


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a member goes.

    Attributes:
        header: its headers, whole blocks.
        header_offset: where they begin, in bytes.
        data_offset: where its data begins; it is followed by `padding` zero bytes.
    """

    header: bytes
    header_offset: int
    data_offset: int


class Layout(msgspec.Struct, frozen=True):
    """Where all members of an archive go.

    Attributes:
        places: one for each member, in the order given.
        end: where `END` goes.
        size: the size of the whole archive, in bytes.
    """

    places: tuple[Place, ...]
    end: int
    size: int


def layout(members: Iterable[Member]) -> Layout:
    """Return where each member goes: ustar where it fits, PAX for long names and from 8 GiB on, all times and owners 0.

    The same members in the same order give the same bytes, in every release that does not say otherwise.

    Raises:
        InvalidArgument: a name occurs twice or is none, or a directory has data.
    """
    rows = [(member.name, member.directory, member.size, member.mode) for member in members]
    places, end, size = tar_layout(rows)
    return Layout(tuple(Place(*place) for place in places), end, size)


def padding(size: int) -> int:
    """Return how many zero bytes follow so many bytes of data."""
    return -size % _BLOCK
