"""Opening files. No call here needs an event loop."""

from __future__ import annotations

import os

__all__ = ("at_once",)


def at_once(path: str | bytes | os.PathLike[str], flags: int) -> int:
    """Open a file without waiting for the other end of a named pipe; an `opener` for `open`. Reads wait as usual.

    That wait may be for ever, and a thread that opens a file cannot be cancelled. Before the first process has opened the pipe to write,
    a read is at the end of the file: wait with `pipes.readable`.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor
