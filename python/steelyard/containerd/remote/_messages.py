"""The methods that are called, and what they answer. Requests and answers have the fields of the protocol's messages, by their names there.

Native code encodes and decodes the messages; `rust/service/src/client/messages.rs` lists the methods. Requests and answers pass
between it and Python as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ("DescriptorAnswer", "ImageAnswer", "InfoAnswer", "LeaseAnswer", "Method", "StatusAnswer", "Time", "method")

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


class Method(msgspec.Struct, frozen=True):
    """A method of a service.

    Attributes:
        path: its name on the wire.
        read: makes an answer of its JSON.
    """

    path: str
    read: Callable[[bytes], Any]

    def read_all(self, answers: list[bytes]) -> list[Any]:
        """Return all answers; of many not on the event loop."""
        return [self.read(answer) for answer in answers]


_ANSWERS: dict[str, dict[str, Any]] = {
    "Content": {
        "Info": InfoAnswer,
        "Update": InfoAnswer,
        "List": InfoAnswer,
        "Delete": None,
        "Read": None,  # its data
        "Status": StatusAnswer,
        "ListStatuses": StatusAnswer,
        "Write": WriteAnswer,
        "Abort": None,
    },
    "Images": {"Get": ImageAnswer, "List": ImageAnswer, "Create": ImageAnswer, "Update": ImageAnswer, "Delete": None},
    "Leases": {
        "Create": LeaseAnswer,
        "Delete": None,
        "List": LeaseAnswer,
        "AddResource": None,
        "DeleteResource": None,
        "ListResources": ResourceAnswer,
    },
}

_METHODS = {
    (service, name): Method(
        f"/containerd.services.{service.lower()}.v1.{service}/{name}", msgspec.json.Decoder(answer).decode
    )
    for service, methods in _ANSWERS.items()
    for name, answer in methods.items()
}


def method(service: str, name: str) -> Method:
    """Return the method of that name of ``Content``, ``Images`` or ``Leases``."""
    return _METHODS[service, name]
