"""The methods of the services, and the values of their answers. Requests have the fields of the protocol's messages.

Native code encodes and decodes the messages; `rust/service/src/client/messages.rs` lists the methods. Between native code and Python,
requests and answers are JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from steelyard.containerd.remote._answers import (
    ImageAnswer,
    InfoAnswer,
    LeaseAnswer,
    ResourceAnswer,
    StatusAnswer,
    WriteAnswer,
)
from steelyard.containerd.remote._values import check_written, to_image, to_info, to_lease, to_status

__all__ = ("Method", "method")


class Method(msgspec.Struct, frozen=True):
    """A method of a service.

    Attributes:
        path: its name in the protocol.
        read: makes a value from the JSON of an answer.
    """

    path: str
    read: Callable[[bytes], Any]

    def read_all(self, answers: list[bytes]) -> list[Any]:
        """Return the values of all answers. Do not call it for many answers on the event loop.

        Raises:
            ValueError: an answer has an invalid value, such as an invalid digest.
        """
        return [self.read(answer) for answer in answers]


def _reads(answer: Any, make: Callable[[Any], Any] | None = None) -> Callable[[bytes], Any]:
    decode = msgspec.json.Decoder(answer).decode
    return decode if make is None else lambda data: make(decode(data))


_NOTHING, _INFO, _STATUS = _reads(None), _reads(InfoAnswer, to_info), _reads(StatusAnswer, to_status)
_IMAGE, _LEASE = _reads(ImageAnswer, to_image), _reads(LeaseAnswer, to_lease)

_READ: dict[str, dict[str, Callable[[bytes], Any]]] = {
    "Content": {
        "Info": _INFO,
        "Update": _INFO,
        "List": _INFO,
        "Delete": _NOTHING,
        "Read": _NOTHING,  # native code takes its data
        "Status": _STATUS,
        "ListStatuses": _STATUS,
        "Write": _reads(WriteAnswer, check_written),
        "Abort": _NOTHING,
    },
    "Images": {"Get": _IMAGE, "List": _IMAGE, "Create": _IMAGE, "Update": _IMAGE, "Delete": _NOTHING},
    "Leases": {
        "Create": _LEASE,
        "Delete": _NOTHING,
        "List": _LEASE,
        "AddResource": _NOTHING,
        "DeleteResource": _NOTHING,
        "ListResources": _reads(ResourceAnswer),
    },
}

_METHODS = {
    (service, name): Method(f"/containerd.services.{service.lower()}.v1.{service}/{name}", read)
    for service, methods in _READ.items()
    for name, read in methods.items()
}


def method(service: str, name: str) -> Method:
    """Return the method of that name of ``Content``, ``Images`` or ``Leases``."""
    return _METHODS[service, name]
