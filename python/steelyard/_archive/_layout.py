"""Writing archives: the place of every member is known before the first byte is written."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from steelyard._native import tar_layout

__all__ = ("END", "Layout", "Member", "Place", "layout", "padding")

_BLOCK = 512

END = bytes(2 * _BLOCK)
"""The end of an archive."""


class Member(msgspec.Struct, frozen=True, gc=False):
    """A file or directory to be written.

    Attributes:
        name: a relative name, without ``.``, ``..`` and empty parts.
        size: the bytes of its data; 0 for a directory.
        mode: its permission bits.
        directory: whether it is a directory instead of a regular file.
    """

    name: str
    size: int = 0
    mode: int = 0o444
    directory: bool = False


class Place(msgspec.Struct, frozen=True, gc=False):
    """The place of a member.

    Attributes:
        header: its headers, in whole blocks.
        header_offset: the offset of the headers.
        data_offset: the offset of its data, which is followed by `padding` zero bytes.
    """

    header: bytes
    header_offset: int
    data_offset: int


class Layout(msgspec.Struct, frozen=True):
    """The places of all members of an archive.

    Attributes:
        places: the place of each member, in the given order.
        end: the offset of `END`.
        size: the size of the whole archive in bytes.
    """

    places: tuple[Place, ...]
    end: int
    size: int


def layout(members: Iterable[Member]) -> Layout:
    """Return the place of each member. Headers are ustar, with PAX for long names and sizes from 8 GiB; times and owners are 0.

    The same members in the same order give the same bytes. The changelog names releases that change this.

    Raises:
        InvalidArgument: a name occurs twice or is invalid, or a directory has data.
    """
    rows = [(member.name, member.directory, member.size, member.mode) for member in members]
    places, end, size = tar_layout(rows)
    return Layout(tuple(Place(*place) for place in places), end, size)


def padding(size: int) -> int:
    """Return how many zero bytes follow `size` bytes of data."""
    return -size % _BLOCK
