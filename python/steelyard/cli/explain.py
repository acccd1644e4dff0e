"""Error messages: the object, the expected and the found value, and a command that helps."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import msgspec

from steelyard import errors
from steelyard.cli.exits import BlobNeeded, Exit, OverBudget, exit_of
from steelyard.cli.names import AmbiguousDigest, counted
from steelyard.cli.printing import printable, quoted
from steelyard.cli.records import ErrorRecord
from steelyard.cli.streams import OUTPUT
from steelyard.options import looks_like_content

__all__ = ("NoSource", "Report", "UsageError", "explain", "leaves", "path_of")

_FILE = "file: "
"""The start of the note of `checkout` and `put_tree` about a file."""

_OBJECTS = ("collecting/", "documents/", "images/", "labels/", "leased/", "leases/", "protected/", "settings/", "s3://")
"""The first letters of what is damaged in a bucket, blobs aside. Nothing rebuilds that."""


class UsageError(errors.InvalidArgument):
    """The command line is wrong.

    Attributes:
        next_step: a command that helps, or None.
    """

    code = "usage"

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message)
        self.next_step = next_step


class NoSource(errors.NotFound):
    """The source directory is not of the required kind.

    Attributes:
        next_step: a command that helps.
    """

    def __init__(self, path: str, message: str, *, next_step: str) -> None:
        super().__init__(printable(path), kind="source")
        self.args: tuple[object, ...] = (message,)
        self.next_step = next_step


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """An error, ready to be shown.

    Attributes:
        code: the stable identifier of the error.
        message: the object, and the expected and the found value.
        next_step: a complete command that helps, or None.
        exit: the exit code.
        details: further lines, for example the blobs that match an ambiguous prefix.
    """

    code: str
    message: str
    next_step: str | None
    exit: Exit
    details: tuple[str, ...] = ()

    def record(self) -> ErrorRecord:
        """Return the report as a JSON record."""
        return ErrorRecord(code=self.code, message=self.message, next=self.next_step, exit_code=int(self.exit))


def explain(
    error: BaseException, *, program: str = "steelyard", command: str | None = None, about: str | None = None
) -> Report:
    """Return the report of an error.

    Args:
        error: any exception.
        program: the start of a command line for the same store: ``steelyard`` and the given `--store`.
        command: the command, whose help explains a wrong argument.
        about: the file or name; added in front of a message that does not contain it.
    """
    code = (
        error.code if isinstance(error, errors.SteelyardError) else "io" if isinstance(error, OSError) else "internal"
    )
    message = _message(error)
    if about is not None and about not in message:
        message = f"{about}: {message}"
    return Report(
        code=code,
        message=printable(message),
        next_step=_next_step(error, program, command, about),
        exit=exit_of(error),
        details=_details(error),
    )


def _details(error: BaseException) -> tuple[str, ...]:
    if isinstance(error, AmbiguousDigest):
        return tuple(map(str, error.candidates))
    if isinstance(error, errors.IncompleteImage):
        return tuple(
            printable(f"{digest}  {platform or '-'}" + (f"  named by {parent}" if parent else ""))
            for digest, parent, platform in error.absent
        )
    return ()


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors in an exception group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


def path_of(error: BaseException) -> str | None:
    """Return the path of the file of a tree that failed, or None. Such an error may name a blob only; its note has the path."""
    notes = (note.removeprefix(_FILE) for note in getattr(error, "__notes__", ()) if note.startswith(_FILE))
    return next(notes, None)


def _message(error: BaseException) -> str:
    if isinstance(error, errors.StorageError):
        return f"{error.operation}: {os.strerror(error.errno or 0)}: {os.fspath(error.filename or 'the store')}"
    if isinstance(error, errors.IncompleteImage):
        return f"image {error.name}: {counted(len(error.absent), 'blob')} not stored"
    if isinstance(error, errors.SteelyardError):
        return str(error)
    if isinstance(error, OSError):
        subject = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return f"{error.strerror or error}{subject}"
    import traceback  # noqa: PLC0415 - for internal errors only

    where = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
    place = f" at {os.path.basename(where[0].filename)}:{where[0].lineno}" if where else ""  # noqa: PTH119 - a bare name
    return f"internal error{place}: {type(error).__name__}: {error}"


def _next_step(error: BaseException, program: str, command: str | None, about: str | None) -> str | None:
    match error:
        case UsageError() | NoSource():
            return error.next_step
        case errors.NotFound(kind="ingest"):
            return f"{program} ingests"
        case errors.NotFound(kind="lease") | errors.LeaseExists() | errors.LeaseEnded():
            return f"{program} leases ls"
        case BlobNeeded(digest=digest):
            return f"{program} why {digest}"
        case OverBudget():
            return f"{program} gc --dry-run --grace 0s"
        case errors.CollectionBusy():
            return f"{program} gc"  # later
        case errors.CollectionRefused(cause="roots"):
            return f"{program} gc --accept-roots --dry-run"
        case errors.CollectionRefused(cause="open", store=store):
            return f"fuser -v {quoted(store)}/lock"
        case errors.CollectionRefused(cause="containerd"):
            return f"{program} gc --take-back --dry-run"
        case errors.CollectionRefused():
            return None  # the message has the next step
        case errors.NotFound(kind="store"):
            return f"{program} doctor"
        case errors.NotFound(kind="image name" | "platform"):
            return f"{program} images ls"
        case errors.IncompleteImage(name=name):
            return f"{program} images check {quoted(name)}" if ":" in name and not name.startswith("sha") else None
        case errors.NotFound(kind="image" | "file" | "URL") | errors.ServerRefused() | errors.InvalidResponse():
            return None  # a source lacks it; or the server says why: the message has it
        case errors.NotFound():
            return f"{program} ls"
        case errors.Unreachable(address=address):
            is_socket = not address.startswith(("s3:", "http:", "https:"))
            return f"ls -l {quoted(address.removeprefix('unix://'))}" if is_socket else None
        case errors.Unsupported():
            return "steelyard --help"
        case errors.Unavailable() | errors.Aborted():
            return f"{program} ingests --watch"
        case errors.UnexpectedDigest(ref=str(ref)) | errors.UnexpectedSize(ref=str(ref)):
            return f"{program} abort {quoted(ref)}"
        case errors.UnexpectedDigest(expected=expected):
            # The digest of the source according to another program; sha256sum and b3sum are the usual names.
            algorithm = expected.algorithm.replace("blake3", "b3")
            is_file = about is not None and about != "-" and "://" not in about
            return f"{algorithm}sum {quoted(about)}" if about is not None and is_file else None
        case errors.OutOfRange(name=name):
            return f"{program} info {name.removeprefix('blob ')}"
        case errors.AlreadyExists(digest=digest):
            return f"{program} info {digest}"
        case errors.DataCorrupt():
            return _next_step_of_damage(error, program, was_moved=command == "verify" and about is not None)
        case AmbiguousDigest(candidates=(first, *_)):
            return f"{program} info {first}"
        case errors.InvalidFilter():
            return "steelyard help filters"
        case errors.InvalidDigest():
            return f"{program} ls -q"
        case errors.InvalidImage():
            return None
        case errors.InvalidArgument():
            return f"steelyard {command} --help" if command else "steelyard --help"
        case errors.IncompatibleFormat():
            return "pip install --upgrade 'steelyard[cli]'"
        case _:
            return _next_step_of_system(error, program, command)


def _next_step_of_damage(error: errors.DataCorrupt, program: str, *, was_moved: bool) -> str | None:
    name = error.name
    if error.expected in {"a regular file", "directories"} or name.startswith(_OBJECTS):
        return None  # a link in an image layout, or an object in a bucket; the message says what it is
    if name.endswith("/data"):
        return f"{program} ingests"  # whose `abort` drops the damaged one
    blob = name.removeprefix("blob ")
    if ":" not in blob or "/" in blob:
        return f"{program} doctor --rebuild"
    return f"{program} quarantine" if was_moved else f"{program} verify {blob}"


def _is_text(argument: str) -> bool:
    """Return whether an argument was probably meant as content. A single word counts as the name of a file."""
    return looks_like_content(argument) and (len(argument) > 255 or not argument.replace("-", "_").isidentifier())


def _next_step_of_system(error: BaseException, program: str, command: str | None) -> str | None:
    path = getattr(error, "filename", None)
    if path == OUTPUT:
        return None  # there is no path: only the caller knows the file
    name = quoted(os.fsdecode(path)) if isinstance(path, str | bytes) else None
    if getattr(error, "errno", None) in {errno.EMFILE, errno.ENFILE}:
        return "ulimit -n 4096"
    match exit_of(error):
        case Exit.NO_SPACE if command == "gc":
            return f"{program} rm DIGEST"  # a removal needs no free space, and frees the space that a collection needs
        case Exit.NO_SPACE:
            # A disk with a quota may have free space that the store may not use.
            is_disk = name and getattr(error, "errno", None) != errno.EDQUOT
            return f"df -h {name}" if is_disk else f"{program} stat"
        case Exit.PERMISSION | Exit.USAGE:
            return f"ls -ld {name}" if name else f"{program} doctor"
        case Exit.NOT_FOUND if isinstance(error, errors.StorageError) and error.operation not in {"export", "checkout"}:
            return f"{program} doctor"
        case Exit.NOT_FOUND | Exit.ERROR if command == "put" and isinstance(path, str) and _is_text(path):
            return f"printf %s {quoted(path)} | {program} put -" if len(path) < 100 else f"{program} put - < FILE"
        case Exit.NOT_FOUND if isinstance(path, str | bytes):
            return f"ls -ld {quoted(os.path.dirname(os.fsdecode(path)) or '.')}"  # noqa: PTH120 - text, not a path to open
        case Exit.ERROR if not isinstance(error, errors.SteelyardError | OSError):
            return f"{program} doctor"
        case _:
            return None
