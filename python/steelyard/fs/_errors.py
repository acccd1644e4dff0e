"""The errors that users of fsspec expect. Each has the typed error as its cause."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from steelyard.errors import AlreadyExists, NotFound, Unsupported

__all__ = ("is_directory", "not_directory", "not_found", "os_error", "os_errors", "read_only", "unsupported")


def os_error(path: str, error: Exception) -> Exception:
    """Return FileNotFoundError for NotFound, FileExistsError for AlreadyExists, and any other error unchanged.

    `StorageError` is already an OSError.
    """
    if isinstance(error, NotFound):
        shown: OSError = FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}: {error}", path)
    elif isinstance(error, AlreadyExists):
        shown = FileExistsError(errno.EEXIST, f"{os.strerror(errno.EEXIST)}: {error}", path)
    else:
        return error
    shown.__cause__ = error
    return shown


@contextmanager
def os_errors(path: str) -> Iterator[None]:
    """Convert errors with `os_error`."""
    try:
        yield
    except (NotFound, AlreadyExists) as error:
        raise os_error(path, error) from error


def not_found(path: str) -> FileNotFoundError:
    """Return the error for a path that does not exist."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def is_directory(path: str) -> IsADirectoryError:
    """Return the error for a path that names a directory instead of a file."""
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def not_directory(path: str) -> NotADirectoryError:
    """Return the error for a path that names a file instead of a directory."""
    return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def read_only(path: str, reason: str) -> OSError:
    """Return the error for a change of a blob or a tree, which never change."""
    error = OSError(errno.EROFS, f"{os.strerror(errno.EROFS)}: {reason}", path)
    error.__cause__ = Unsupported(path, operation=reason)
    return error


def unsupported(path: str, operation: str) -> NotImplementedError:
    """Return the error for an operation that the file system does not support."""
    cause = Unsupported(path, operation=operation)
    error = NotImplementedError(str(cause))
    error.__cause__ = cause
    return error
