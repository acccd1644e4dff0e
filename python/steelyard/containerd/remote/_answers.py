"""The protocol's messages that answer calls. The fields have the protocol's names."""

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
"""Seconds since the epoch, and nanoseconds; None if the time was not set."""


class InfoAnswer(msgspec.Struct, frozen=True):
    """A blob."""

    digest: str
    size: int
    created_at: Time
    updated_at: Time
    labels: dict[str, str]


class StatusAnswer(msgspec.Struct, frozen=True):
    """An ingest. A total of 0 and an empty digest mean that they are not known."""

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
    """A descriptor. An empty text and 0 mean that the value is not known."""

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
