"""Between the protocol's messages and the values of `steelyard.model`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from steelyard.containerd.remote._answers import (
    DescriptorAnswer,
    ImageAnswer,
    InfoAnswer,
    LeaseAnswer,
    StatusAnswer,
    Time,
)
from steelyard.digest import Digest
from steelyard.model import Descriptor, Image, Info, Labels, Lease, Status

__all__ = ("EXPIRE", "to_image", "to_info", "to_lease", "to_status")

EXPIRE = "containerd.io/gc.expire"
"""The label of a lease with its end."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _AFTER_LAST = -62135596800, 253402300800
"""The years 1 and 10000. The first second is what a Go program sends for a time that it has not set."""


def _to_time(stamp: Time, default: datetime = _EPOCH) -> datetime:
    """Return a time as whole microseconds; in place of one that was not set, or that a datetime does not hold, the default."""
    seconds, nanos = stamp or (0, 0)
    if not _FIRST < seconds < _AFTER_LAST or not (seconds or nanos):
        return default
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def _to_labels(items: Mapping[str, str]) -> Labels:
    """Return labels as the server has them, whatever they are: it has accepted them."""
    labels = Labels.__new__(Labels)
    labels._items = dict(items)  # noqa: SLF001  # what its `__init__` does, without the checks
    return labels


def to_info(message: InfoAnswer) -> Info:
    """Return the Info of a blob. A listing of containerd 1.6 does not say when labels were set."""
    if message.size < 0:
        raise ValueError(f"size {message.size}: expected at least 0")
    created = _to_time(message.created_at)
    return Info(
        digest=Digest.parse(message.digest),
        size=message.size,
        created_at=created,
        updated_at=_to_time(message.updated_at, created),
        labels=_to_labels(message.labels),
    )


def to_status(message: StatusAnswer) -> Status:
    """Return the Status of an ingest. On the wire, 0 is a total that is not known."""
    return Status(
        ref=message.ref,
        offset=message.offset,
        total=message.total or None,
        expected=Digest.parse(message.expected) if message.expected else None,
        started_at=_to_time(message.started_at),
        updated_at=_to_time(message.updated_at),
    )


def _to_descriptor(message: DescriptorAnswer) -> Descriptor:
    """Return the descriptor. On the wire, an empty text or 0 is what is not known."""
    return Descriptor(
        digest=Digest.parse(message.digest),
        size=message.size or None,
        media_type=message.media_type or None,
        annotations=_to_labels(message.annotations),
    )


def to_image(message: ImageAnswer) -> Image:
    """Return what is known of an image name."""
    return Image(
        name=message.name,
        target=_to_descriptor(message.target or DescriptorAnswer()),
        created_at=_to_time(message.created_at),
        updated_at=_to_time(message.updated_at),
        labels=_to_labels(message.labels),
    )


def to_lease(message: LeaseAnswer) -> Lease:
    """Return what is known of a lease."""
    labels = dict(message.labels)
    end = labels.pop(EXPIRE, None)
    expires_at = None
    if end is not None:
        with suppress(ValueError, OverflowError):  # set by another client; containerd ignores it, too
            expires_at = datetime.fromisoformat(end).astimezone(UTC)
    return Lease(
        id=message.id, created_at=_to_time(message.created_at), expires_at=expires_at, labels=_to_labels(labels)
    )
