"""Errors as they go over the wire: a gRPC code, and a message whose last words identify the error for containerd."""

from __future__ import annotations

import errno
import inspect
import os
from typing import Any
from urllib.parse import quote

import msgspec
from grpc import StatusCode

from steelyard import errors
from steelyard.digest import Digest

__all__ = ("CLASSES", "DETAILS_KEY", "SUFFIXES", "Busy", "Exhausted", "Refusal", "refusal", "refuse")

DETAILS_KEY = "steelyard-error-bin"
"""Trailing metadata of a refused call: the error's code and fields as JSON, from which our own client makes it again."""

STATUS_TEXT_LIMIT = 2048
"""The most bytes of a message on the wire. It travels in a header, and clients take 8 KiB of all headers together."""


class Exhausted(errors.SteelyardError):
    """A limit of the service is reached.

    Attributes:
        limit: its name, for metrics.
    """

    code = "exhausted"

    def __init__(self, message: str, *, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


class Busy(Exhausted):
    """So many calls are open that this one has to come again: the code is one after which clients do."""

    code = "busy"


CLASSES: dict[type[BaseException], StatusCode] = {
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.AlreadyExists: StatusCode.ALREADY_EXISTS,
    errors.LeaseExists: StatusCode.ALREADY_EXISTS,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.CollectionBusy: StatusCode.UNAVAILABLE,
    errors.ServerRefused: StatusCode.FAILED_PRECONDITION,
    errors.Unreachable: StatusCode.UNAVAILABLE,
    errors.LeaseEnded: StatusCode.NOT_FOUND,  # containerd's code for a call under a lease that there is not
    errors.FailedPrecondition: StatusCode.FAILED_PRECONDITION,
    errors.Aborted: StatusCode.ABORTED,
    errors.InvalidArgument: StatusCode.INVALID_ARGUMENT,
    errors.OutOfRange: StatusCode.OUT_OF_RANGE,
    errors.DataCorrupt: StatusCode.DATA_LOSS,
    errors.Unsupported: StatusCode.UNIMPLEMENTED,
    Busy: StatusCode.UNAVAILABLE,
    Exhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.StorageFull: StatusCode.RESOURCE_EXHAUSTED,
    errors.StorageError: StatusCode.INTERNAL,
    errors.InvalidResponse: StatusCode.INTERNAL,
    TimeoutError: StatusCode.DEADLINE_EXCEEDED,
}
"""The code of each class and of those below it; of anything else it is INTERNAL."""

SUFFIXES: dict[StatusCode, str] = {
    StatusCode.CANCELLED: "context canceled",
    StatusCode.UNKNOWN: "unknown",
    StatusCode.INVALID_ARGUMENT: "invalid argument",
    StatusCode.DEADLINE_EXCEEDED: "context deadline exceeded",
    StatusCode.NOT_FOUND: "not found",
    StatusCode.ALREADY_EXISTS: "already exists",
    StatusCode.PERMISSION_DENIED: "permission denied",
    StatusCode.RESOURCE_EXHAUSTED: "resource exhausted",
    StatusCode.FAILED_PRECONDITION: "failed precondition",
    StatusCode.ABORTED: "aborted",
    StatusCode.OUT_OF_RANGE: "out of range",
    StatusCode.UNIMPLEMENTED: "not implemented",
    StatusCode.INTERNAL: "internal",
    StatusCode.UNAVAILABLE: "unavailable",
    StatusCode.DATA_LOSS: "data loss",
    StatusCode.UNAUTHENTICATED: "unauthenticated",
}
"""The text that containerd appends to a message of each code, after a colon."""


class Refusal(msgspec.Struct, frozen=True):
    """How a call ends that failed.

    Attributes:
        code: the gRPC code.
        message: for people, with containerd's suffix; shortened to `STATUS_TEXT_LIMIT` bytes on the wire.
        details: the error's code and fields as JSON; empty where there are none.
    """

    code: StatusCode
    message: str
    details: bytes = b""

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The trailing metadata."""
        return ((DETAILS_KEY, self.details),) if self.details else ()


def refusal(error: BaseException) -> Refusal:
    """Return how a call ends that raised this error. No path of ours and no traceback leaves the process."""
    code = _code(error)
    if isinstance(error, errors.StorageError):
        return _made(code, f"{error.operation}: {os.strerror(error.errno or 0)}", {"code": error.code})
    if isinstance(error, errors.SteelyardError):
        fields = {"code": error.code} | arguments(error)
        name = fields.get("name")
        if isinstance(name, str) and name.startswith("/"):  # a control file of the store
            fields["name"] = os.path.basename(name)  # noqa: PTH119 - text, not a path to open
            return _made(code, str(error).replace(name, fields["name"]), fields)
        return _made(code, str(error), fields)
    if isinstance(error, TimeoutError):
        return _made(code, str(error) or "the store took too long", {})
    return _made(code, "the store failed; the service's log says more", {})


def arguments(error: errors.SteelyardError) -> dict[str, Any]:
    """Return the arguments that make the error again, with digests as text. An error in words has none."""
    names = [name for name in inspect.signature(type(error)).parameters if hasattr(error, name)]
    return {name: _plain(getattr(error, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Digest) else value


def refuse(code: StatusCode, message: str) -> Refusal:
    """Return a refusal of the service itself."""
    return _made(code, message, {})


_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def _code(error: BaseException) -> StatusCode:
    if isinstance(error, OSError) and error.errno in _DENIED:
        return StatusCode.PERMISSION_DENIED
    return next((code for kind, code in CLASSES.items() if isinstance(error, kind)), StatusCode.INTERNAL)


def _made(code: StatusCode, text: str, fields: dict[str, Any]) -> Refusal:
    suffix = SUFFIXES[code]
    if text != suffix and not text.endswith(f": {suffix}"):
        text = f"{text}: {suffix}"
    details = msgspec.json.encode(fields) if fields else b""
    return Refusal(code, _shortened(text), details if len(details) <= STATUS_TEXT_LIMIT else b"")


def _shortened(text: str) -> str:
    """Cut the middle out of a text that is too long for a header, in which other than ASCII takes three times the room."""
    most = STATUS_TEXT_LIMIT
    while len(quote(text)) > STATUS_TEXT_LIMIT:
        most //= 2
        text = f"{text[: most - most // 4]}…{text[-(most // 4) :]}"
    return text
