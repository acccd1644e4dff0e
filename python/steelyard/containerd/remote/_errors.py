"""Conversion of gRPC's codes and containerd's messages to Steelyard's errors, by one table."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from anyio import ClosedResourceError

from steelyard import errors
from steelyard._native import RemoteCall
from steelyard.containerd._code import Code
from steelyard.digest import Digest
from steelyard.errors import (
    Aborted,
    AlreadyExists,
    DataCorrupt,
    FailedPrecondition,
    InvalidArgument,
    InvalidDigest,
    LeaseEnded,
    LeaseExists,
    NotFound,
    OutOfRange,
    SteelyardError,
    StorageError,
    StorageFull,
    Unavailable,
    UnexpectedDigest,
    UnexpectedSize,
    Unreachable,
    Unsupported,
)

__all__ = ("About", "NameTaken", "Refused", "error_of")

_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]{64,128}")
_SIZE = re.compile(r"size (\d{1,19}), expected (\d{1,19})\b|size validation: (\d{1,19}) != (\d{1,19})\b", re.ASCII)
_FIELDS = msgspec.json.Decoder(dict[str, Any])
_KINDS = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SteelyardError)
}
_FULL = re.compile(r"no space|quota", re.IGNORECASE)


class Refused(Exception):
    """The failure of a call. It does not refer to the call, so an error that a program keeps does not keep a connection open."""

    def __init__(self, code: Code, details: str, fields: bytes = b"") -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details
        self.fields = fields
        """The error of our own service as JSON; empty if there is none."""

    @classmethod
    def of(cls, call: RemoteCall) -> Refused | None:
        """Return the failure of an ended call, or None if it succeeded."""
        outcome = call.outcome
        if outcome is None or outcome[0] == Code.OK:
            return None
        code, details, fields = outcome
        return cls(Code(code), details, fields)


class NameTaken(SteelyardError):
    """The server has the image name already, and does not report its target; `RemoteImageNames.create` looks it up."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The subject of a call, for its errors.

    Attributes:
        kind: ``"blob"``, ``"ingest"``, ``"image name"`` or ``"lease"``.
        name: the digest, the ref, the name.
        call: the method, for people.
        expected: the expected digest of the ingest, as text, or None.
        offset: the offset at which the call begins, or None.
        size: the known size of the subject, or None.
    """

    kind: str
    name: str
    call: str
    expected: str | None = None
    offset: int | None = None
    size: int | None = None


def error_of(refused: Refused, about: About, address: str, lease: str | None = None) -> SteelyardError:
    """Return Steelyard's error for a failed call. `lease` is the lease under which the call was made."""
    exact = _restored(refused, about, address) if refused.fields else None
    if exact is not None:
        return exact
    make = _TABLE.get(refused.code)
    error = _storage(refused, about, address) if make is None else make(refused, about, address)
    if lease is not None and about.kind != "lease" and isinstance(error, NotFound) and error.kind == "lease":
        return LeaseEnded(lease, reason="deleted")
    return error


def _restored(refused: Refused, about: About, address: str) -> SteelyardError | None:
    """Return the store's error that our own service reports, or None for errors of the service itself or of the disk."""
    try:
        fields = _FIELDS.decode(refused.fields)
    except (msgspec.MsgspecError, RecursionError):
        return None
    code = str(fields.pop("code", ""))
    if code == "busy":
        return _busy(refused, about, address)
    kind = _KINDS.get(code)
    if kind is None or issubclass(kind, OSError | ClosedResourceError) or "__dict__" in fields:
        return None
    if kind is Unavailable:
        return Unavailable(about.name, holder=f"another client of {address}")
    text, _, suffix = refused.details.rpartition(": ")
    try:
        return kind(**fields) if fields else kind(text if suffix.islower() else refused.details)
    except (TypeError, ValueError):
        return None  # from another release, or not from our service


def _busy(refused: Refused, about: About, address: str) -> SteelyardError:
    """Return the error for too many open calls at our service. A caller that waits for a ref also waits for this."""
    if about.kind != "ingest":
        return Unreachable(address, reason=_text(refused))
    error = Unavailable(about.name, holder=f"other clients of {address}")
    error.args = (f"ingest {about.name}: {address}: {_text(refused)}",)
    return error


def _invalid(refused: Refused, about: About, _: str) -> SteelyardError:
    return InvalidArgument(f"{about.kind} {about.name[:200]}: {_text(refused)}")


def _not_found(refused: Refused, about: About, _: str) -> SteelyardError:
    if "lease" in refused.details and about.kind != "lease":
        return NotFound(_text(refused), kind="lease")
    return NotFound(about.name, kind=about.kind)


def _exists(refused: Refused, about: About, _: str) -> SteelyardError:
    if about.kind == "image name":
        return NameTaken(about.name)
    digest = about.expected or next(iter(_digests(refused)), None)
    if about.kind == "lease":
        return LeaseExists(about.name)
    if digest is None:
        return FailedPrecondition(f"{about.kind} {about.name}: exists already")
    return AlreadyExists(digest)


def _precondition(refused: Refused, about: About, address: str) -> SteelyardError:
    if about.kind == "ingest":
        if sizes := _SIZE.search(refused.details):
            # In both forms of the message, the actual size comes first.
            actual, expected = sizes.group(1) or sizes.group(3), sizes.group(2) or sizes.group(4)
            return UnexpectedSize(about.name, expected=int(expected), actual=int(actual))
        if about.expected is not None and _DIGEST.search(refused.details):
            expected = Digest.parse(about.expected)
            others = [digest for digest in _digests(refused) if digest != expected]
            if not others or others[0].algorithm is not expected.algorithm:
                return Unsupported(address, operation=f"naming blobs by {expected.algorithm}")
            return UnexpectedDigest(about.name, expected=expected, actual=others[0])
    return FailedPrecondition(f"{about.kind} {about.name}: {_text(refused)}")


def _aborted(refused: Refused, about: About, address: str) -> SteelyardError:
    return Aborted(about.name) if about.kind == "ingest" else _storage(refused, about, address)


def _range(_: Refused, about: About, __: str) -> SteelyardError:
    return OutOfRange(about.name, offset=about.offset or 0, size=about.size or 0)


def _unavailable(refused: Refused, about: About, address: str) -> SteelyardError:
    # The server's own message for a held ref ends with its class. A message of the transport does not.
    if about.kind == "ingest" and refused.details.rpartition(": ")[2] == "unavailable":
        return Unavailable(about.name, holder=f"another client of {address}")
    return Unreachable(address, reason=_text(refused))


def _unreachable(refused: Refused, about: About, address: str) -> SteelyardError:
    return Unreachable(address, reason=f"{about.call}: {_text(refused)}")


def _unsupported(_: Refused, about: About, address: str) -> SteelyardError:
    return Unsupported(address, operation=f"{about.call}; the server does not have it")


def _corrupt(refused: Refused, about: About, _: str) -> SteelyardError:
    return DataCorrupt(about.name, expected=about.expected or "the bytes of its digest", actual=_text(refused))


def _exhausted(refused: Refused, about: About, address: str) -> SteelyardError:
    if _FULL.search(refused.details):
        return StorageFull(errno.ENOSPC, operation=f"{about.call}: {_text(refused)}", path=address)
    return StorageError(errno.ENOBUFS, operation=f"{about.call}: {_text(refused)}", path=address)


def _denied(refused: Refused, about: About, address: str) -> SteelyardError:
    return StorageError(errno.EACCES, operation=f"{about.call}: {_text(refused)}", path=address)


def _storage(refused: Refused, about: About, address: str) -> SteelyardError:
    if _FULL.search(refused.details):
        return StorageFull(errno.ENOSPC, operation=f"{about.call}: {_text(refused)}", path=address)
    return StorageError(
        errno.EIO, operation=f"{about.call} {about.name}: {refused.code.name}: {_text(refused)}", path=address
    )


_TABLE: dict[Code, Callable[[Refused, About, str], SteelyardError]] = {
    Code.INVALID_ARGUMENT: _invalid,
    Code.NOT_FOUND: _not_found,
    Code.ALREADY_EXISTS: _exists,
    Code.FAILED_PRECONDITION: _precondition,
    Code.ABORTED: _aborted,
    Code.OUT_OF_RANGE: _range,
    Code.UNAVAILABLE: _unavailable,
    Code.DEADLINE_EXCEEDED: _unreachable,
    Code.CANCELLED: _unreachable,
    Code.UNIMPLEMENTED: _unsupported,
    Code.DATA_LOSS: _corrupt,
    Code.RESOURCE_EXHAUSTED: _exhausted,
    Code.PERMISSION_DENIED: _denied,
    Code.UNAUTHENTICATED: _denied,
}
"""All other codes become a `StorageError`."""


def _digests(refused: Refused) -> list[Digest]:
    """Return the digests in the message, of algorithms that this package knows."""
    found = []
    for text in _DIGEST.findall(refused.details):
        with suppress(InvalidDigest):
            found.append(Digest.parse(text))
    return found


def _text(refused: Refused) -> str:
    return refused.details[:1000] or refused.code.name.lower().replace("_", " ")
