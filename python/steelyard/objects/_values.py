"""The values of records, and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from steelyard.collection import CollectDefaults
from steelyard.digest import Digest
from steelyard.leases import check_expires, check_lease
from steelyard.model import Descriptor, Image, Labels, Lease
from steelyard.names import check_name
from steelyard.options import check_size

__all__ = ("DefaultsValue", "LabelValue", "LeaseValue", "NameValue", "after", "to_time")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9000, 1, 1, tzinfo=UTC)
"""The latest time of a value. It leaves room for durations that are added."""


class LabelValue(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a blob.

    Attributes:
        labels: the labels.
        at: the time at which they were set, by the clock of the client that set them.
        blob: the time of the object that they belong to, in seconds, or None for an object that is about to be created. It keeps the labels
            of a deleted blob from a later object at the same key. An ETag and an @ may precede the time.
    """

    labels: dict[str, str]
    at: datetime
    blob: str | None

    def __post_init__(self) -> None:
        """Refuse values that no store writes. The other classes do so, too."""
        Labels(self.labels)
        _check_time(self.at)


class NameValue(msgspec.Struct, frozen=True, kw_only=True):
    """An image name.

    Attributes:
        name: the name.
        digest, size, media_type, annotations: the fields of its target.
        labels: its labels.
        created_at, updated_at: its times, by the clocks of the clients that changed it.
    """

    name: str
    digest: str
    size: int | None
    media_type: str | None
    annotations: dict[str, str]
    labels: dict[str, str]
    created_at: datetime
    updated_at: datetime

    def __post_init__(self) -> None:
        check_name(self.name)
        check_size(self.size)
        _check_time(self.created_at)
        _check_time(self.updated_at)
        self.image()

    @classmethod
    def of(cls, image: Image) -> NameValue:
        """Return the value for an image name."""
        target = image.target
        return cls(
            name=image.name,
            digest=str(target.digest),
            size=target.size,
            media_type=target.media_type,
            annotations=dict(target.annotations),
            labels=dict(image.labels),
            created_at=image.created_at,
            updated_at=image.updated_at,
        )

    def image(self) -> Image:
        """Return the image name."""
        target = Descriptor(
            digest=Digest.parse(self.digest),
            size=self.size,
            media_type=self.media_type,
            annotations=Labels(self.annotations),
        )
        return Image(
            name=self.name,
            target=target,
            created_at=self.created_at,
            updated_at=self.updated_at,
            labels=Labels(self.labels),
        )


class LeaseValue(msgspec.Struct, frozen=True, kw_only=True):
    """A lease.

    Attributes:
        id: its ID.
        token: a random part of the keys of its entries. A lease that is created again under the same ID has another token.
        created_at: the time of its creation, by the clock of the client that created it.
        expires: the time after which it ends, in seconds.
        labels: its labels.
    """

    id: str
    token: str
    created_at: datetime
    expires: float
    labels: dict[str, str]

    def __post_init__(self) -> None:
        check_lease(self.id)
        check_expires(timedelta(seconds=self.expires))
        _check_time(self.created_at)
        Labels(self.labels)

    def lease(self) -> Lease:
        """Return the lease."""
        expires_at = self.created_at + timedelta(seconds=self.expires)
        return Lease(id=self.id, created_at=self.created_at, expires_at=expires_at, labels=Labels(self.labels))


class DefaultsValue(msgspec.Struct, frozen=True, kw_only=True):
    """The default times of collections.

    Attributes:
        grace, ingest_age: see `CollectDefaults`; in microseconds.
    """

    grace: int
    ingest_age: int

    def __post_init__(self) -> None:
        times = self.times()
        times.check(times.grace, times.ingest_age)

    @classmethod
    def of(cls, times: CollectDefaults) -> DefaultsValue:
        """Return the value for the times."""
        microsecond = timedelta(microseconds=1)
        return cls(grace=times.grace // microsecond, ingest_age=times.ingest_age // microsecond)

    def times(self) -> CollectDefaults:
        """Return the times."""
        return CollectDefaults(
            grace=timedelta(microseconds=self.grace), ingest_age=timedelta(microseconds=self.ingest_age)
        )


def _check_time(at: datetime) -> None:
    if at.tzinfo is None or not _EPOCH - timedelta(days=1) <= at <= _LAST:
        raise ValueError(f"expected a time from {_EPOCH} to {_LAST}, found {at}")


def to_time(ns: int) -> datetime:
    """Return nanoseconds since the epoch as a time in UTC."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def after(earlier: datetime) -> datetime:
    """Return the present time, or a time just after `earlier` if this machine's clock is behind it."""
    return max(datetime.now(UTC), earlier + timedelta(microseconds=1))
