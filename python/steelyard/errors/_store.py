"""Errors that every store may raise."""

from __future__ import annotations

import errno
import os
from datetime import datetime
from functools import partial
from typing import Any, Literal

import anyio

from steelyard._digest_errors import InvalidArgument, InvalidDigest, SteelyardError
from steelyard.digest import Digest

_FULL = {errno.ENOSPC, errno.EDQUOT}


class NotFound(SteelyardError, LookupError):
    """The blob, ingest, image name or lease does not exist.

    Attributes:
        name: the digest, the ref, the image name or the ID of the lease, as text.
        kind: ``"blob"``, ``"ingest"``, ``"image name"``, ``"lease"``, or another word for the absent object.
    """

    code = "not_found"

    def __init__(self, name: Digest | str, *, kind: str = "blob") -> None:
        super().__init__(f"{kind} {name}: not found")
        self.name: str = str(name)
        self.kind = kind

    @property
    def digest(self) -> Digest | None:
        """The digest of the absent blob; None if the absent object is not a blob."""
        return _digest_in(self.name) if self.kind == "blob" else None


class AlreadyExists(SteelyardError):
    """The blob is already stored, or the image name exists.

    If `Ingester.writer` or `Writer.commit` raises it, the ingest is removed. If a method of `images` raises it, no image name has changed.

    Attributes:
        digest: the digest of the blob, or of the image name's target.
        name: the image name, or None for a blob.
    """

    code = "already_exists"

    def __init__(self, digest: Digest | str, *, name: str | None = None) -> None:
        super().__init__(f"blob {digest}: already exists" if name is None else f"image name {name}: holds {digest}")
        self.digest: Digest = Digest.parse(digest)
        self.name = name


class Unavailable(SteelyardError):
    """Another writer holds the ref.

    Attributes:
        ref: the ref.
        holder: the holder, as readable text: ``"this process"``, ``"process 4711"`` or ``"unknown"``.
        since: the time at which the holder took the ref (UTC), or None if unknown.
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
    """The state does not permit the call; nothing was changed."""

    code = "failed_precondition"


class UnexpectedDigest(FailedPrecondition):
    """The digest of the ingest is not the expected one; the ingest keeps its bytes.

    Attributes:
        ref: the ingest, or None for a write without one.
        expected: the expected digest.
        actual: the digest of the bytes.
    """

    code = "unexpected_digest"

    def __init__(self, ref: str | None = None, *, expected: Digest | str, actual: Digest | str) -> None:
        super().__init__(f"{_ingest(ref)}expected digest {expected}, found {actual}")
        self.ref = ref
        self.expected: Digest = Digest.parse(expected)
        self.actual: Digest = Digest.parse(actual)


class UnexpectedSize(FailedPrecondition):
    """The size of the ingest is not the expected one; the ingest keeps its bytes.

    Attributes:
        ref: the ingest, or None for a write without one.
        expected: the expected size, in bytes.
        actual: the size of the ingest, in bytes.
    """

    code = "unexpected_size"

    def __init__(self, ref: str | None = None, *, expected: int, actual: int) -> None:
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
        actual: the format found there.
        supported: the newest format that this release reads.
    """

    code = "incompatible_format"

    def __init__(self, path: str, *, actual: str, supported: str) -> None:
        super().__init__(f"{path}: store format {actual}, this release reads up to {supported}")
        self.path = path
        self.actual = actual
        self.supported = supported


class Aborted(SteelyardError):
    """`abort` discarded the ingest while this writer had it open, or the writer lost the ingest.

    A writer loses its ingest if the file `lock` or the ingest's directory is removed. Another process may then have taken the ref, and may
    have committed the ingest. Do not rely on any bytes of this writer.

    Attributes:
        ref: the ref.
    """

    code = "aborted"

    def __init__(self, ref: str) -> None:
        super().__init__(f"ingest {ref}: aborted or taken by another caller")
        self.ref = ref


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
    """A label has an empty key, or its key and value together exceed 4096 bytes.

    Attributes:
        key: the label's key, shortened to at most 100 characters.
        size: the bytes of key and value together, in UTF-8.
        allowed: the maximum.
    """

    code = "invalid_label"

    def __init__(self, key: str, *, size: int, allowed: int = 4096) -> None:
        self.key: str = key if len(key) <= 100 else key[:99] + "…"
        what = "the key is empty" if not key else f"key and value are {size} bytes, at most {allowed} are allowed"
        super().__init__(f"label {self.key!r}: {what}")
        self.size = size
        self.allowed = allowed


class LeaseExists(SteelyardError):
    """A lease with that ID exists.

    Attributes:
        lease: the ID.
    """

    code = "lease_exists"

    def __init__(self, lease: str) -> None:
        super().__init__(f"lease {lease}: already exists")
        self.lease = lease


class LeaseEnded(FailedPrecondition):
    """The lease of a store ended while the store was in use. The call stored nothing, and later calls under this lease store nothing.

    The blobs that were stored under the lease are no longer protected by it. To go on, repeat the work under a new lease.

    Attributes:
        lease: the ID.
        reason: ``"deleted"``, ``"expired"``, or another word for the reason.
    """

    code = "lease_ended"

    def __init__(self, lease: str, *, reason: str) -> None:
        super().__init__(f"lease {lease}: {reason}")
        self.lease = lease
        self.reason = reason


class CollectionBusy(SteelyardError):
    """Another collection of the same store is running; nothing was removed.

    Attributes:
        holder: the process that collects, as readable text: ``"this process"``, ``"process 4711"`` or ``"unknown"``.
    """

    code = "collection_busy"

    def __init__(self, holder: str = "unknown") -> None:
        super().__init__(f"collection: {holder} is collecting")
        self.holder = holder


class CollectionRefused(FailedPrecondition):
    """The store cannot know which blobs are needed, so nothing was removed.

    Attributes:
        store: the store, as readable text: its path.
        cause: ``"roots"``: roots may be missing, because the metadata was rebuilt or replaced, or because an ``index.json`` names images
            that the store has no names for; `accept_roots` collects nevertheless. ``"open"``: other store objects or processes have the
            store open, and the first collection must be alone; or a service for the containerd still has it open, and `take_back` needs
            the service to end; or the store is a `MemoryStore` that was served to a program that collects it. ``"containerd"``: a
            containerd collects the store; `take_back` ends that. ``"document"``: a document cannot be read. ``"clock"``: the clock of
            this machine differs from the clock of the object storage.
        reason: the reason, as readable text.
    """

    code = "collection_refused"

    def __init__(
        self, store: str, *, cause: Literal["roots", "open", "containerd", "document", "clock"], reason: str
    ) -> None:
        super().__init__(f"{store}: nothing was collected: {reason}")
        self.store = store
        self.cause = cause
        self.reason = reason


class OutOfRange(SteelyardError):
    """An offset is past the end.

    Attributes:
        name: the digest or the ref, as text.
        offset: the requested offset, in bytes.
        size: the actual size, in bytes.
    """

    code = "out_of_range"

    def __init__(self, name: Digest | str, *, offset: int, size: int) -> None:
        super().__init__(f"{name}: offset {offset} is past the end at {size}")
        self.name: str = str(name)
        self.offset = offset
        self.size = size

    @property
    def digest(self) -> Digest | None:
        """The digest that `name` is, or None if it is not a digest."""
        return _digest_in(self.name)


class DataCorrupt(SteelyardError):
    """Stored bytes do not match their name or checksum.

    Attributes:
        name: the damaged object, as text: a digest, a ref or the path of a control file.
        expected: the expected value, as text: a digest, a size or words.
        actual: the actual value, as text.
    """

    code = "data_corrupt"

    def __init__(self, name: Digest | str, *, expected: Digest | str, actual: Digest | str) -> None:
        super().__init__(f"{name}: corrupt: expected {expected}, found {actual}")
        self.name: str = str(name)
        self.expected: str = str(expected)
        self.actual: str = str(actual)

    @property
    def digest(self) -> Digest | None:
        """The digest that `name` is, or None if it is not a digest."""
        return _digest_in(self.name)


class StorageError(SteelyardError, OSError):
    """A system call failed. `errno`, `strerror` and `filename` describe the failed call.

    Attributes:
        operation: the system call or step that failed.
    """

    code = "storage"

    def __init__(self, errno: int, *, operation: str, path: str | None = None) -> None:
        OSError.__init__(self, errno, os.strerror(errno), path)
        self.operation = operation

    @classmethod
    def of(cls, error: OSError, *, operation: str, path: str | None = None) -> StorageError:
        """Return the typed error for an `OSError`: `StorageFull` if no space or quota is left, otherwise `StorageError`."""
        number = error.errno or errno.EIO
        return (StorageFull if number in _FULL else StorageError)(number, operation=operation, path=path)

    @property
    def path(self) -> str | None:
        """The path of the call, or None; the same as `filename`."""
        path: str | None = self.filename
        return path

    def __str__(self) -> str:
        return f"{self.operation}: {OSError.__str__(self)}"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), operation=self.operation, path=self.filename), (self.errno,)


class StorageFull(StorageError):
    """No space or quota is left (ENOSPC, EDQUOT). No partial blob is visible; reads and deletes still work."""

    code = "storage_full"


def _ingest(ref: str | None) -> str:
    return "" if ref is None else f"ingest {ref}: "


def _digest_in(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidDigest:
        return None
