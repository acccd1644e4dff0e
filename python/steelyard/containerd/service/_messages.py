"""Between the messages of the protocol and the values of `steelyard.model`, and bulk data past protobuf, which copies it.

For a MiB of data, measured: a Write request 2 µs in place of 105, a Read response 40 µs in place of 2,100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from steelyard._native import message_parts
from steelyard.containerd import _parsing as parsing
from steelyard.containerd._proto import content_pb2, descriptor_pb2, images_pb2
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidFilter
from steelyard.filters import MAX_FILTERS
from steelyard.model import Buffer, Descriptor, Image, Info, Labels, Status

__all__ = (
    "EPOCH",
    "Malformed",
    "descriptor_value",
    "filters_value",
    "image_message",
    "info_message",
    "labels_value",
    "parse",
    "parse_write",
    "read_response",
    "status_message",
    "time_message",
)

MessageT = TypeVar("MessageT", bound=Message)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_BULK = 32 << 10
"""Data from this size on is cut out of its message before the rest is parsed."""


class Malformed(InvalidArgument):
    """A message does not parse."""

    code = "malformed_message"


def filters_value(texts: Sequence[str]) -> list[str]:
    """Return the filters of a request.

    Raises:
        InvalidFilter: there are too many to be worth copying.
    """
    if len(texts) > MAX_FILTERS:
        reason = f"a list of {len(texts)} filters, at most {MAX_FILTERS} are allowed"
        raise InvalidFilter(texts[MAX_FILTERS], position=0, reason=reason)
    return list(texts)


def parse(kind: type[MessageT], data: bytes) -> MessageT:
    """Return a message.

    Raises:
        Malformed: the bytes are not one.
    """
    try:
        return parsing.parse(kind, data)
    except DecodeError as error:
        raise Malformed(f"request: not a {kind.DESCRIPTOR.full_name}: {error}") from None


def parse_write(data: bytes) -> tuple[content_pb2.WriteContentRequest, Buffer]:
    """Return a Write request and its data, which is not copied if it is large.

    Raises:
        Malformed: the bytes are not one.
    """
    parts = _parts(data) if len(data) >= _BULK else []
    bulks = [part for part in parts if part[2] == _DATA_FIELD]
    if len(bulks) == 1:
        _, end, _, start = bulks[0]
        request = parse(content_pb2.WriteContentRequest, b"".join(data[p[0] : p[1]] for p in parts if p not in bulks))
        if not request.data:  # a field that comes twice is protobuf's affair: the last one counts
            return request, memoryview(data)[start:end]
    request = parse(content_pb2.WriteContentRequest, data)
    return request, request.data


_DATA_FIELD = 6


def _parts(data: bytes) -> list[tuple[int, int, int, int]]:
    try:
        return message_parts(data, _BULK)
    except ValueError:
        return []


def read_response(offset: int, data: bytes) -> bytes:
    """Return a Read response, encoded."""
    return b"".join((b"\x08", _encoded(offset), b"\x12", _encoded(len(data)), data))


def _encoded(value: int) -> bytes:
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def time_message(time: datetime) -> Timestamp:
    """Return a time."""
    since = time - EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def info_message(info: Info) -> content_pb2.Info:
    """Return what is known of a blob."""
    return content_pb2.Info(
        digest=str(info.digest),
        size=info.size,
        created_at=time_message(info.created_at),
        updated_at=time_message(info.updated_at),
        labels=dict(info.labels),
    )


def status_message(status: Status) -> content_pb2.Status:
    """Return what is known of an ingest."""
    return content_pb2.Status(
        started_at=time_message(status.started_at),
        updated_at=time_message(status.updated_at),
        ref=status.ref,
        offset=status.offset,
        total=status.total or 0,
        expected="" if status.expected is None else str(status.expected),
    )


def image_message(image: Image) -> images_pb2.Image:
    """Return what is known of an image name."""
    target = descriptor_pb2.Descriptor(
        media_type=image.target.media_type or "",
        digest=str(image.target.digest),
        size=image.target.size or 0,
        annotations=dict(image.target.annotations),
    )
    return images_pb2.Image(
        name=image.name,
        labels=dict(image.labels),
        target=target,
        created_at=time_message(image.created_at),
        updated_at=time_message(image.updated_at),
    )


def descriptor_value(message: descriptor_pb2.Descriptor) -> Descriptor:
    """Return a descriptor; on the wire 0 and the empty text stand for what is not known.

    Raises:
        InvalidDigest, InvalidLabel: a value of the message is not valid.
        InvalidArgument: a negative size.
    """
    if message.size < 0:
        raise InvalidArgument(f"descriptor {message.digest[:200]}: size {message.size}: expected 0 (unknown) or more")
    return Descriptor(
        digest=Digest.parse(message.digest),
        size=message.size or None,
        media_type=message.media_type or None,
        annotations=Labels(message.annotations),
    )


def labels_value(message: Mapping[str, str], *, exact: bool) -> Labels:
    """Return labels.

    Args:
        message: the labels of a message.
        exact: whether an empty value is a value; to containerd, it removes the label.

    Raises:
        InvalidLabel: one is too long.
    """
    return Labels(message if exact else {key: value for key, value in message.items() if value})
