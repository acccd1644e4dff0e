"""The errors of every store."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, ClassVar

import anyio


class SteelyardError(Exception):
    """The base class of all errors of this package."""

    code: ClassVar[str] = "unknown"
    """A stable identifier of the error, for logs and wire formats."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle by their `args`, which hold the message; these are made from keyword fields.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[SteelyardError], args: tuple[Any, ...], fields: dict[str, Any]) -> SteelyardError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class NotFound(SteelyardError, LookupError):
    """The blob, ingest or image name does not exist.

    Attributes:
        kind: ``"blob"``, ``"ingest"`` or ``"image name"``.
        name: the digest, the ref or the image name.
    """

    code = "not_found"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name}: not found")
        self.kind = kind
        self.name = name


class AlreadyExists(SteelyardError):
    """The blob is already stored, or the image name exists.

    `Ingester.writer` started nothing; `Writer.commit` removed the ingest; the image name did not change.

    Attributes:
        digest: the digest of the blob, or of the name's target, as text.
        name: the image name, or None for a blob.
    """

    code = "already_exists"

    def __init__(self, digest: str, *, name: str | None = None) -> None:
        super().__init__(f"blob {digest}: already exists" if name is None else f"image name {name}: holds {digest}")
        self.digest = digest
        self.name = name


class Unavailable(SteelyardError):
    """Another writer holds the ref.

    Attributes:
        ref: the ref.
        holder: the holder, as readable text: ``"this process"``, ``"process 4711"`` or ``"unknown"``.
        since: when the holder took it (UTC), or None if unknown.
        local: whether the holder is a writer of the same store object; then `open_writer` waits without polling.
    """

    code = "unavailable"

    def __init__(
        self, ref: str, *, holder: str = "unknown", since: datetime | None = None, local: bool = False
    ) -> None:
        age = ""
        if since is not None:
            seconds = max(0.0, (datetime.now(since.tzinfo) - since).total_seconds())
            age = f" for {seconds:.1f} s"
        super().__init__(f"ingest {ref}: held by {holder}{age}")
        self.ref = ref
        self.holder = holder
        self.since = since
        self.local = local


class FailedPrecondition(SteelyardError):
    """The call needs another state; nothing was changed."""

    code = "failed_precondition"


class UnexpectedDigest(FailedPrecondition):
    """The digest of the ingest is not the expected one; the ingest keeps its bytes.

    Attributes:
        ref: the ingest, or None for a write without one.
        expected: the expected digest, as text.
        actual: the digest of the bytes, as text.
    """

    code = "unexpected_digest"

    def __init__(self, *, expected: str, actual: str, ref: str | None = None) -> None:
        super().__init__(f"{_ingest(ref)}expected digest {expected}, found {actual}")
        self.ref = ref
        self.expected = expected
        self.actual = actual


class UnexpectedSize(FailedPrecondition):
    """The size of the ingest is not the expected one; the ingest keeps its bytes.

    Attributes:
        ref: the ingest, or None for a write without one.
        expected: the expected size, in bytes.
        actual: the size of the ingest, in bytes.
    """

    code = "unexpected_size"

    def __init__(self, *, expected: int, actual: int, ref: str | None = None) -> None:
        super().__init__(f"{_ingest(ref)}expected {expected} bytes, found {actual}")
        self.ref = ref
        self.expected = expected
        self.actual = actual


class WriterClosed(FailedPrecondition, anyio.ClosedResourceError):
    """The writer was committed or closed; open another one with the same ref.

    Attributes:
        ref: the writer's ref.
    """

    code = "writer_closed"

    def __init__(self, ref: str) -> None:
        super().__init__(f"ingest {ref}: the writer is closed")
        self.ref = ref


class IncompatibleFormat(FailedPrecondition):
    """This release cannot read the format of the root.

    Attributes:
        path: the root.
        found: the format found there.
        supported: the newest format this release reads.
    """

    code = "incompatible_format"

    def __init__(self, *, path: str, found: str, supported: str) -> None:
        super().__init__(f"{path}: store format {found}, this release reads up to {supported}")
        self.path = path
        self.found = found
        self.supported = supported


class Aborted(SteelyardError):
    """`abort` discarded the ingest while this writer had it open, or the writer lost the ingest.

    A writer loses its ingest if the file `lock` or the ingest's directory is removed: another process may have taken the ref, and
    may have committed the ingest. Do not rely on any bytes of this writer.

    Attributes:
        ref: the ref.
    """

    code = "aborted"

    def __init__(self, ref: str) -> None:
        super().__init__(f"ingest {ref}: aborted or taken by another caller")
        self.ref = ref


class InvalidArgument(SteelyardError, ValueError):
    """The call can never succeed with these arguments; nothing was changed."""

    code = "invalid_argument"


class InvalidDigest(InvalidArgument):
    """The text is not a digest of the form ``algorithm:encoded``.

    Attributes:
        text: the text, shortened to at most 200 characters.
    """

    code = "invalid_digest"

    def __init__(self, text: str, reason: str = "expected algorithm:encoded in lower-case hex") -> None:
        self.text = text if len(text) <= 200 else text[:199] + "…"
        super().__init__(f"digest {self.text!r}: {reason}")


class InvalidDigestLength(InvalidDigest):
    """The encoded part has the wrong length for its algorithm.

    Attributes:
        expected: hex digits of that algorithm.
        actual: hex digits found.
    """

    code = "invalid_digest_length"

    def __init__(self, text: str, *, expected: int, actual: int) -> None:
        super().__init__(text, f"expected {expected} hex digits, found {actual}")
        self.expected = expected
        self.actual = actual


class UnsupportedAlgorithm(InvalidDigest):
    """The digest or name is well-formed, but this store does not compute that algorithm.

    Attributes:
        algorithm: its name.
    """

    code = "unsupported_algorithm"

    def __init__(self, text: str, *, algorithm: str) -> None:
        super().__init__(text, f"unsupported algorithm {algorithm[:64]!r}; sha256, sha384, sha512 and blake3 are known")
        self.algorithm = algorithm


class InvalidFilter(InvalidArgument):
    """A filter does not parse, or a list of filters exceeds a limit of `steelyard.filters`.

    Attributes:
        text: the filter.
        position: the position of the error, in characters from 0.
        reason: the reason.
    """

    code = "invalid_filter"

    def __init__(self, text: str, *, position: int, reason: str) -> None:
        shown = text if len(text) <= 200 else text[:200] + "…"
        super().__init__(f"filter {shown!r}, position {position}: {reason}")
        self.text = text
        self.position = position
        self.reason = reason


class InvalidLabel(InvalidArgument):
    """A label has an empty key, or key and value together are over 4096 bytes.

    Attributes:
        key: the label's key, shortened to at most 100 characters.
        size: bytes of key and value together, in UTF-8.
        limit: the maximum.
    """

    code = "invalid_label"

    def __init__(self, key: str, *, size: int, limit: int = 4096) -> None:
        self.key = key if len(key) <= 100 else key[:99] + "…"
        what = "the key is empty" if not key else f"key and value are {size} bytes, at most {limit} are allowed"
        super().__init__(f"label {self.key!r}: {what}")
        self.size = size
        self.limit = limit


class OutOfRange(SteelyardError):
    """An offset is past the end.

    Attributes:
        name: the digest or ref.
        offset: the requested offset, in bytes.
        size: the actual size, in bytes.
    """

    code = "out_of_range"

    def __init__(self, name: str, *, offset: int, size: int) -> None:
        super().__init__(f"{name}: offset {offset} is past the end at {size}")
        self.name = name
        self.offset = offset
        self.size = size


class DataCorrupt(SteelyardError):
    """Stored bytes do not match their name or checksum.

    Attributes:
        name: the damaged object: a digest, or the path of a control file.
        expected: the expected value.
        actual: the actual value.
    """

    code = "data_corrupt"

    def __init__(self, name: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{name}: corrupt: expected {expected}, found {actual}")
        self.name = name
        self.expected = expected
        self.actual = actual


class StorageError(SteelyardError, OSError):
    """A system call failed; `errno`, `strerror` and `filename` are those of the call.

    Attributes:
        operation: the system call or step that failed.
    """

    code = "storage"

    def __init__(self, errno: int, path: str | None, operation: str) -> None:
        super().__init__(errno, os.strerror(errno), path)
        self.operation = operation

    def __str__(self) -> str:
        return f"{self.operation}: {OSError.__str__(self)}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.filename, self.operation)


class StorageFull(StorageError):
    """No space or quota is left (ENOSPC, EDQUOT). No partial blob is visible; reads and deletes still work."""

    code = "storage_full"


def _ingest(ref: str | None) -> str:
    return "" if ref is None else f"ingest {ref}: "
