"""Errors of stores that are written in Python, in the form of the protocol: a gRPC code, and a message whose last words identify the error
for containerd. `rust/service/src/refusal.rs` does the same for a `LocalStore`.
"""

from __future__ import annotations

import errno
import inspect
import os
import traceback
from typing import Any
from urllib.parse import quote

import msgspec

from steelyard import errors
from steelyard.containerd._code import Code
from steelyard.digest import Digest

__all__ = ("CLASSES", "DETAILS_KEY", "SUFFIXES", "Refusal", "refusal", "refused")

DETAILS_KEY = "steelyard-error-bin"
"""The trailing metadata of a refused call with the error's code and fields as JSON. Our own client restores the error from it."""

STATUS_TEXT_LIMIT = 2048
"""The most bytes of a message in the protocol. It is sent in a header, and clients accept 8 KiB of headers in all."""


CLASSES: dict[type[BaseException], Code] = {
    errors.NotFound: Code.NOT_FOUND,
    errors.AlreadyExists: Code.ALREADY_EXISTS,
    errors.LeaseExists: Code.ALREADY_EXISTS,
    errors.Unavailable: Code.UNAVAILABLE,
    errors.CollectionBusy: Code.UNAVAILABLE,
    errors.ServerRefused: Code.FAILED_PRECONDITION,
    errors.Unreachable: Code.UNAVAILABLE,
    errors.LeaseEnded: Code.NOT_FOUND,  # containerd's code for a call under a lease that does not exist
    errors.FailedPrecondition: Code.FAILED_PRECONDITION,
    errors.Aborted: Code.ABORTED,
    errors.InvalidArgument: Code.INVALID_ARGUMENT,
    errors.OutOfRange: Code.OUT_OF_RANGE,
    errors.DataCorrupt: Code.DATA_LOSS,
    errors.Unsupported: Code.UNIMPLEMENTED,
    errors.StorageFull: Code.RESOURCE_EXHAUSTED,
    errors.StorageError: Code.INTERNAL,
    errors.InvalidResponse: Code.INTERNAL,
    TimeoutError: Code.DEADLINE_EXCEEDED,
}
"""The code of each class and its subclasses. The code of all other errors is INTERNAL."""

SUFFIXES: dict[Code, str] = {
    Code.CANCELLED: "context canceled",
    Code.UNKNOWN: "unknown",
    Code.INVALID_ARGUMENT: "invalid argument",
    Code.DEADLINE_EXCEEDED: "context deadline exceeded",
    Code.NOT_FOUND: "not found",
    Code.ALREADY_EXISTS: "already exists",
    Code.PERMISSION_DENIED: "permission denied",
    Code.RESOURCE_EXHAUSTED: "resource exhausted",
    Code.FAILED_PRECONDITION: "failed precondition",
    Code.ABORTED: "aborted",
    Code.OUT_OF_RANGE: "out of range",
    Code.UNIMPLEMENTED: "not implemented",
    Code.INTERNAL: "internal",
    Code.UNAVAILABLE: "unavailable",
    Code.DATA_LOSS: "data loss",
    Code.UNAUTHENTICATED: "unauthenticated",
}
"""The text that containerd appends to a message of each code, after a colon."""


class Refusal(msgspec.Struct, frozen=True):
    """The end of a failed call.

    Attributes:
        code: the gRPC code.
        message: a text for people, with containerd's suffix. It has at most `STATUS_TEXT_LIMIT` bytes in the protocol.
        details: the error's code and fields as JSON, or empty.
    """

    code: Code
    message: str
    details: bytes = b""


def refused(error: Exception) -> tuple[int, str, bytes, str, str]:
    """Return the row of an error for the native server: gRPC code, message, details, text for the log, and code of the error's class."""
    found = refusal(error)
    log = str(error) if isinstance(error, errors.SteelyardError) else "".join(traceback.format_exception(error))
    return found.code.value, found.message, found.details, log, getattr(error, "code", "")


def refusal(error: BaseException) -> Refusal:
    """Return the end of a call that raised this error. It has no internal path and no traceback."""
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
    """Return the arguments from which the error can be created again, with digests as text. An error that is only a message has none."""
    names = [name for name in inspect.signature(type(error)).parameters if hasattr(error, name)]
    return {name: _plain(getattr(error, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Digest) else value


_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def _code(error: BaseException) -> Code:
    if isinstance(error, OSError) and error.errno in _DENIED:
        return Code.PERMISSION_DENIED
    return next((code for kind, code in CLASSES.items() if isinstance(error, kind)), Code.INTERNAL)


def _made(code: Code, text: str, fields: dict[str, Any]) -> Refusal:
    suffix = SUFFIXES[code]
    if text != suffix and not text.endswith(f": {suffix}"):
        text = f"{text}: {suffix}"
    details = msgspec.json.encode(fields) if fields else b""
    return Refusal(code, _shortened(text), details if len(details) <= STATUS_TEXT_LIMIT else b"")


def _shortened(text: str) -> str:
    """Cut the middle out of a text that is too long for a header. A byte outside printable ASCII takes three bytes there."""
    most = STATUS_TEXT_LIMIT
    while len(quote(text)) > STATUS_TEXT_LIMIT:
        most //= 2
        text = f"{text[: most - most // 4]}…{text[-(most // 4) :]}"
    return text
