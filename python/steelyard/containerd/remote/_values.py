"""Conversion of the protocol's messages to the values of `steelyard.model`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from steelyard._collecting.labels import EXPIRE, expiry_of
from steelyard.containerd.remote._answers import (
    DescriptorAnswer,
    ImageAnswer,
    InfoAnswer,
    LeaseAnswer,
    StatusAnswer,
    Time,
    WriteAnswer,
)
from steelyard.digest import Digest
from steelyard.model import Descriptor, Image, Info, Labels, Lease, Status

__all__ = ("check_subject", "check_written", "to_image", "to_info", "to_lease", "to_status")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _AFTER_LAST = -62135596800, 253402300800
"""The beginnings of the years 1 and 10000. A Go program sends the first one for a time that it has not set."""


def _to_time(stamp: Time, default: datetime = _EPOCH) -> datetime:
    """Return a time in whole microseconds. Return the default for a time that was not set or that a datetime cannot represent."""
    seconds, nanos = stamp or (0, 0)
    if not _FIRST < seconds < _AFTER_LAST or not (seconds or nanos):
        return default
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def _to_labels(items: Mapping[str, str]) -> Labels:
    """Return the labels of the server without checks, because the server has accepted them."""
    labels = Labels.__new__(Labels)
    labels._items = dict(items)  # noqa: SLF001  # what its `__init__` does, without the checks
    return labels


def _check_number(kind: str, number: int) -> None:
    if number < 0:
        raise ValueError(f"{kind} {number}: expected at least 0")


def check_subject(value: object, name: str) -> None:
    """Check that a value has the requested subject: the digest of a blob, a ref, an image name or the ID of a lease.

    Raises:
        ValueError: it has another subject.
    """
    match value:
        case Info(digest=digest):
            found = str(digest)
        case Status(ref=found) | Image(name=found) | Lease(id=found):
            pass
        case _:
            return
    if found != name:
        raise ValueError(f"it is about {found[:200]!r}, expected {name[:200]!r}")


def check_written(message: WriteAnswer) -> WriteAnswer:
    """Return the answer to a message of a Write, if its offset and digest are valid."""
    _check_number("offset", message.offset)
    if message.digest:
        Digest.parse(message.digest)
    return message


def to_info(message: InfoAnswer) -> Info:
    """Return the Info of a blob. A listing of containerd 1.6 does not report when labels were set."""
    _check_number("size", message.size)
    created = _to_time(message.created_at)
    return Info(
        digest=Digest.parse(message.digest),
        size=message.size,
        created_at=created,
        updated_at=_to_time(message.updated_at, created),
        labels=_to_labels(message.labels),
    )


def to_status(message: StatusAnswer) -> Status:
    """Return the Status of an ingest. In the protocol, a total of 0 means that it is not known."""
    _check_number("offset", message.offset)
    _check_number("total", message.total)
    return Status(
        ref=message.ref,
        offset=message.offset,
        total=message.total or None,
        expected=Digest.parse(message.expected) if message.expected else None,
        started_at=_to_time(message.started_at),
        updated_at=_to_time(message.updated_at),
    )


def _to_descriptor(message: DescriptorAnswer) -> Descriptor:
    """Return the descriptor. In the protocol, an empty text or 0 means that the value is not known."""
    _check_number("size", message.size)
    return Descriptor(
        digest=Digest.parse(message.digest),
        size=message.size or None,
        media_type=message.media_type or None,
        annotations=_to_labels(message.annotations),
    )


def to_image(message: ImageAnswer) -> Image:
    """Return the image name."""
    return Image(
        name=message.name,
        target=_to_descriptor(message.target or DescriptorAnswer()),
        created_at=_to_time(message.created_at),
        updated_at=_to_time(message.updated_at),
        labels=_to_labels(message.labels),
    )


def to_lease(message: LeaseAnswer) -> Lease:
    """Return the lease."""
    labels = dict(message.labels)
    expires_at = expiry_of(labels)  # containerd ignores a text that is not a time, too
    labels.pop(EXPIRE, None)
    return Lease(
        id=message.id, created_at=_to_time(message.created_at), expires_at=expires_at, labels=_to_labels(labels)
    )
