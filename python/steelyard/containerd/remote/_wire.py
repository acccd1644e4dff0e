"""The two messages that carry blobs, made and read without the copies that protobuf would make of their bytes.

Spec: protobuf's encoding: fields in any order, each a tag (number and wire type) and a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from steelyard.containerd._parsing import parse
from steelyard.containerd._proto import content_pb2
from steelyard.model import Buffer

__all__ = ("Data", "read_data", "write_data")

_LONGEST = 10
"""The most bytes of an integer."""

_WRITE_DATA = b"\x32"  # field 6 of WriteContentRequest: bytes
_READ_OFFSET, _READ_DATA = 0x08, 0x12  # fields 1 and 2 of ReadContentResponse: an integer, bytes


class Data(msgspec.Struct, frozen=True):
    """A WriteContentRequest on its way.

    Attributes:
        message: all of it but the data.
        pieces: the data.
        size: its length in bytes.
    """

    message: Any
    pieces: Sequence[Buffer] = ()
    size: int = 0


def write_data(request: Data) -> bytes:
    """Return the bytes of a WriteContentRequest; the data is copied once."""
    head: bytes = request.message.SerializeToString()
    if not request.size:
        return head
    return b"".join([head, _WRITE_DATA, _varint(request.size), *request.pieces])


def read_data(message: bytes) -> memoryview:
    """Return the data of a ReadContentResponse, without a copy. Its offset is not to be trusted, and is passed over."""
    place, size = 0, len(message)
    if size and message[0] == _READ_OFFSET:
        place = 1
        while place < min(size, _LONGEST) and message[place] & 0x80:
            place += 1
        place += 1
    if place < size and message[place] == _READ_DATA:
        length, shift, place = 0, 0, place + 1
        while place < size and message[place] & 0x80:
            length |= (message[place] & 0x7F) << shift
            place, shift = place + 1, shift + 7
        if place < size:
            length |= message[place] << shift
            if place + 1 + length == size:
                return memoryview(message)[place + 1 :]
    # Something that we do not send ourselves and that containerd does not: protobuf knows, or refuses it.
    return memoryview(parse(content_pb2.ReadContentResponse, message).data)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
