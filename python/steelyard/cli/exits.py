"""The exit codes, their meanings, and the code of each error."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from enum import IntEnum

from steelyard import errors

__all__ = ("MEANINGS", "BlobNeeded", "Exit", "NotConfirmed", "OverBudget", "combined", "exit_of")


class Exit(IntEnum):
    """The exit codes of ``steelyard``. Scripts rely on them, so a code never changes its meaning."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    MISMATCH = 5
    BUSY = 6
    TRANSIENT = 7
    PERMISSION = 8
    NO_SPACE = 9
    OVER_BUDGET = 10
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


MEANINGS: dict[Exit, str] = {
    Exit.OK: "success; content that is already stored counts as success",
    Exit.ERROR: "another error, or errors of several kinds in one batch; or `diff` found differences",
    Exit.USAGE: "the command line is wrong, or a required package is missing; nothing was done",
    Exit.NOT_FOUND: "no such blob, ingest, image name, file, URL or store; or blobs of an image are not stored",
    Exit.CONFLICT: "the content is already stored and --fail-if-exists is given; another process aborted the ingest; or something needs the blob",
    Exit.MISMATCH: "a digest or size is not the expected one, stored bytes are damaged, or an image, archive or response is malformed",
    Exit.BUSY: "another writer holds the ingest, another process the store or a collection of it, or another server the address",
    Exit.TRANSIENT: "a server does not answer, or its answers break off; try again later",
    Exit.PERMISSION: "the operating system does not permit it, or the store is read-only",
    Exit.NO_SPACE: "no space or quota is left",
    Exit.OVER_BUDGET: "`gc --max-bytes`: the store is still larger, because the rest is needed or within its grace time",
    Exit.INTERRUPTED: "ended by Ctrl-C (SIGINT); resumable work is kept, and the message says how to resume it",
    Exit.BROKEN_PIPE: "the reader closed the output (as in `steelyard ls | head`)",
    Exit.TERMINATED: "ended by SIGTERM, like Ctrl-C",
}

_BY_ERRNO = {
    errno.ENOENT: Exit.NOT_FOUND,
    errno.ENOTDIR: Exit.NOT_FOUND,
    errno.EISDIR: Exit.USAGE,
    errno.EACCES: Exit.PERMISSION,
    errno.EPERM: Exit.PERMISSION,
    errno.EROFS: Exit.PERMISSION,
    errno.ENOSPC: Exit.NO_SPACE,
    errno.EDQUOT: Exit.NO_SPACE,
    errno.EPIPE: Exit.BROKEN_PIPE,
    errno.EADDRINUSE: Exit.BUSY,
    errno.ENOTSOCK: Exit.USAGE,
}


class OverBudget(errors.SteelyardError):
    """A collection could not make the store as small as requested.

    Attributes:
        allowed: the most bytes that the store was to have.
        missed: the number of bytes above that limit.
    """

    code = "over_budget"

    def __init__(self, allowed: int, *, missed: int) -> None:
        super().__init__(f"the store has {missed} bytes more than the {allowed} bytes of --max-bytes")
        self.allowed = allowed
        self.missed = missed


class BlobNeeded(errors.FailedPrecondition):
    """A blob is not deleted, because something needs it.

    Attributes:
        digest: the blob.
        reason: a text that says what needs it.
        count: the number of blobs that are not deleted; `digest` is the first of them.
    """

    code = "blob_needed"

    def __init__(self, digest: str, *, reason: str, count: int = 1) -> None:
        others = f"; so {'is' if count == 2 else 'are'} {count - 1} more" if count > 1 else ""
        super().__init__(f"blob {digest}: not deleted, because it is needed: {reason}{others}")
        self.digest = digest
        self.reason = reason
        self.count = count


class NotConfirmed(errors.SteelyardError):
    """A question was not answered with yes."""

    code = "not_confirmed"

    def __init__(self) -> None:
        super().__init__("nothing was deleted: not confirmed")


_BY_KIND: tuple[tuple[type[Exception], Exit], ...] = (
    (OverBudget, Exit.OVER_BUDGET),
    (BlobNeeded, Exit.CONFLICT),
    (errors.LeaseExists, Exit.CONFLICT),
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.IncompleteImage, Exit.NOT_FOUND),
    (errors.NameMoved, Exit.CONFLICT),
    (errors.AlreadyExists, Exit.CONFLICT),
    (errors.Aborted, Exit.CONFLICT),
    (errors.UnexpectedDigest, Exit.MISMATCH),
    (errors.UnexpectedSize, Exit.MISMATCH),
    (errors.DataCorrupt, Exit.MISMATCH),
    (errors.Unreachable, Exit.TRANSIENT),
    (errors.ServerRefused, Exit.ERROR),
    (errors.InvalidResponse, Exit.MISMATCH),
    (errors.Unavailable, Exit.BUSY),
    (errors.CollectionBusy, Exit.BUSY),
    (errors.Unsupported, Exit.USAGE),
    (errors.OutOfRange, Exit.USAGE),
    (errors.InvalidImage, Exit.MISMATCH),
    (errors.InvalidArgument, Exit.USAGE),
)


def exit_of(error: BaseException) -> Exit:
    """Return the exit code of an error."""
    for kind, code in _BY_KIND:
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0, Exit.ERROR)
    return Exit.ERROR


def combined(codes: Iterable[Exit]) -> Exit:
    """Return the exit code of a batch: the common code of its failures, or `Exit.ERROR` if they differ."""
    different = set(codes)
    if not different:
        return Exit.OK
    return different.pop() if len(different) == 1 else Exit.ERROR
