"""The sources of `put`: files, trees and streams; and the automatic ref of a large file."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from steelyard.cli.explain import UsageError
from steelyard.cli.printing import path_shown, path_text, quoted
from steelyard.trees._walk import PART_ENTRIES, Identity, error_of, identity_in, reason_of, walk

__all__ = ("RESUMABLE_BYTES", "Found", "Part", "Walk", "automatic_ref", "given")

RESUMABLE_BYTES = 16 << 20
"""Files of at least this size are stored through an ingest with a ref. Storing a smaller file again is fast."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a walk through a tree.

    Attributes:
        path: its path, below the path that the caller gave.
        kind: a regular file, a stream such as a named pipe, a directory to walk, a skipped entry, or an error.
        identity: the identity of a file.
        reason: the reason for skipping it.
        error: the reason why it cannot be stored.
    """

    path: str
    kind: Literal["file", "stream", "directory", "skipped", "error"]
    identity: Identity | None = None
    reason: str = ""
    error: Exception | None = None


class Part(NamedTuple):
    """Some entries of a walk, in order.

    Attributes:
        small: the paths of small files. A path stays text, because a `Path` would lose its leading ``./``.
        large: large files, and streams.
        left_out: skipped entries, and errors.
    """

    small: list[str]
    large: list[Found]
    left_out: list[Found]


def automatic_ref(path: str, identity: Identity) -> str:
    """Return a ref for the current content of a file, made of its path and its identity.

    The same command finds the same ref again. A file that was changed or replaced gets another ref, so its put does not
    resume after bytes that the file no longer has. The ref contains the path, so that it can be recognised in `ingests`.
    """
    absolute = Path(path).absolute()
    key = hashlib.sha256(os.fsencode(absolute) + b"\0" + repr(identity).encode()).hexdigest()
    return f"put:{path_text(absolute)}#{key[:32]}"


class Walk:
    """A walk through all sources of a command, taken in parts, so that memory is bounded.

    Args:
        paths: files, directories and streams; ``-`` is standard input.
        recursive: whether directories are walked.
        root: the store's root, which is left out: the store would otherwise store its own files.
        most_small: files of fewer bytes are small.
        program: how a command line begins that reaches the same store, for hints.
    """

    def __init__(
        self, paths: Iterable[str], *, recursive: bool, root: Path, most_small: int, program: str = "steelyard"
    ) -> None:
        self._most_small = most_small
        self._entries = _each(paths, recursive=recursive, root=root, program=program)

    def take(self) -> Part | None:
        """Return the next part, or None at the end. It reads directories: call it on a thread."""
        part = Part([], [], [])
        for found in islice(self._entries, PART_ENTRIES):
            if found.kind == "file" and found.identity is not None and found.identity[2] < self._most_small:
                part.small.append(found.path)
            elif found.kind in {"file", "stream"}:
                part.large.append(found)
            else:
                part.left_out.append(found)
        return part if part.small or part.large or part.left_out else None


def _each(paths: Iterable[str], *, recursive: bool, root: Path, program: str) -> Iterator[Found]:
    leave_out = _identity(root)
    for path in paths:
        if path == "-":
            yield Found(path=path, kind="stream")
        else:
            yield from _find(path, recursive=recursive, leave_out=leave_out, program=program)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _find(
    path: str, *, recursive: bool, leave_out: tuple[int, int] | None, program: str = "steelyard"
) -> Iterator[Found]:
    """Yield the file at `path`, or the files below it, in the order of their names.

    If `path` itself is a symbolic link, it is followed, as by `find -H`. Links inside a tree are skipped, so
    nothing is stored twice and there are no loops. Memory holds the names in each directory from `path` down to the current one.

    Args:
        path: a file, a directory or a stream.
        recursive: whether directories are walked.
        leave_out: device and inode of the store's root: the store would otherwise store its own files.
        program: how a command line begins that reaches the same store, for hints.
    """
    found = given(path, recursive=recursive, program=program)
    if found.kind == "directory":
        yield from _tree(path, leave_out)
    else:
        yield found


def given(path: str, *, recursive: bool, program: str) -> Found:
    """Classify a path of the command line: it is a file, a stream, a directory (with `recursive`), or an error."""
    try:
        status = Path(path).stat()
    except OSError as error:
        return Found(path=path, kind="error", error=error)
    if not stat.S_ISDIR(status.st_mode):
        return _classified(path, status)
    if recursive:
        return Found(path=path, kind="directory")
    return Found(path=path, kind="error", error=_is_directory(path, program))


def _is_directory(path: str, program: str) -> UsageError:
    return UsageError(
        f"{path_shown(path)}: is a directory: expected a file, or -r", next_step=f"{program} put -r {quoted(path)}"
    )


def _classified(path: str, status: os.stat_result) -> Found:
    if stat.S_ISREG(status.st_mode):
        return Found(path=path, kind="file", identity=identity_in(status))
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
        return Found(path=path, kind="stream")
    return Found(path=path, kind="error", error=OSError(22, "not a file that can be read", path))


def _tree(top: str, leave_out: tuple[int, int] | None) -> Iterator[Found]:
    for part in walk(top, leave_out):
        for path, kind, identity, _mode, _owner, detail in part:
            if identity is not None:
                yield Found(path=path, kind="file", identity=identity)
            elif kind == "link":
                yield Found(path=path, kind="skipped", reason="symbolic link")
            elif (reason := reason_of(kind)) is not None:
                yield Found(path=path, kind="skipped", reason=reason)
            elif kind == "error":
                yield Found(path=path, kind="error", error=error_of(path, detail))
