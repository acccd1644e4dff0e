"""Opening files, without an event loop."""

from __future__ import annotations

import os
import stat
from io import FileIO

__all__ = ("at_once", "open_regular")


def at_once(path: str | bytes | os.PathLike[str], flags: int) -> int:
    """Open a file without waiting for the other end of a named pipe; an `opener` for `open`. Reads wait as usual.

    The wait could last for ever, and a thread that opens a file cannot be cancelled. Before the first process has opened the pipe to
    write, a read returns the end of the file: wait with `pipes.readable`.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def open_regular(path: str | bytes | os.PathLike[str]) -> FileIO | None:
    """Open a regular file to read; return None for a file of another kind, and do not open it: closing a pipe would disturb its writer."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  # a path of any type
        return None
    file = FileIO(path, opener=at_once)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()  # it was replaced meanwhile
    return None
