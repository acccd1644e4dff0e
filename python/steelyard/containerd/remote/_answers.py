"""The messages of the protocol that answer a call, with their fields by their names there."""

from __future__ import annotations

import msgspec

__all__ = (
    "DescriptorAnswer",
    "ImageAnswer",
    "InfoAnswer",
    "LeaseAnswer",
    "ResourceAnswer",
    "StatusAnswer",
    "Time",
    "WriteAnswer",
)

Time = tuple[int, int] | None
"""Seconds since the epoch, and nanoseconds; None is a time that was not set."""


class InfoAnswer(msgspec.Struct, frozen=True):
    """A blob."""

    digest: str
    size: int
    created_at: Time
    updated_at: Time
    labels: dict[str, str]


class StatusAnswer(msgspec.Struct, frozen=True):
    """An ingest; a total of 0 and an empty digest are not known."""

    ref: str
    offset: int
    total: int
    expected: str
    started_at: Time
    updated_at: Time


class WriteAnswer(msgspec.Struct, frozen=True):
    """The answer to a message of a Write."""

    offset: int
    digest: str


class DescriptorAnswer(msgspec.Struct, frozen=True):
    """A descriptor; an empty text and 0 are not known."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    annotations: dict[str, str] = {}


class ImageAnswer(msgspec.Struct, frozen=True):
    """An image name."""

    name: str
    labels: dict[str, str]
    target: DescriptorAnswer | None
    created_at: Time
    updated_at: Time


class LeaseAnswer(msgspec.Struct, frozen=True):
    """A lease."""

    id: str
    created_at: Time
    labels: dict[str, str]


class ResourceAnswer(msgspec.Struct, frozen=True):
    """A blob, an ingest or another thing that a lease protects."""

    id: str
    type: str
