"""Standard streams that are safe to use, even if they were closed when the process started.

A closed stream is dangerous: the next file that is opened, perhaps the store's metadata, gets its descriptor number, and text for
"standard output" would be written into that file. Moreover, Python sets a closed `sys.stderr` to None, and then `print`
writes to standard output. So `prepare` opens the closed descriptors, and the other modules need no special case.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

__all__ = ("OUTPUT", "finish", "prepare", "write_stderr")

STDIN, STDOUT, STDERR = range(3)

OUTPUT = "standard output"
"""The name of standard output in messages, used in place of a file name."""


_kept: list[object] = []
"""Python's own standard error. Keep a reference: its destructor would close the buffer that is in use."""


class _Messages(io.TextIOWrapper):
    """Standard error. If it cannot be written, messages are dropped; the exit code remains."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            _discard(STDERR)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _discard(STDERR)


def prepare() -> None:
    """Prepare the standard streams for the rest of the program.

    A closed standard input or output is opened in such a way that each use still fails with EBADF. A closed standard error is
    opened so that messages are dropped.
    """
    for descriptor, flags in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            _open_null(descriptor, flags)
    if sys.stdout is None:
        sys.stdout = _text(STDOUT)
    if sys.stderr is None:
        sys.stderr = _text(STDERR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # do not fail at a name that the locale cannot encode
    if type(sys.stderr) is io.TextIOWrapper:
        _kept.append(sys.stderr)
        encoding = sys.stderr.encoding
        sys.stderr = _Messages(sys.stderr.buffer, encoding=encoding, errors="backslashreplace", line_buffering=True)


def write_stderr(*lines: str) -> None:
    """Write lines to standard error."""
    for line in lines:
        print(line, file=sys.stderr)
    sys.stderr.flush()


def finish() -> OSError | None:
    """Flush standard output, and return the error if that fails.

    Without this call the interpreter gets the error after the end of the program, and the exit code is 120.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard(STDOUT)
        with suppress(OSError):
            sys.stdout.flush()
        return error
    return None


def _text(descriptor: int) -> io.TextIOWrapper:
    return open(descriptor, "w", encoding="utf-8", closefd=False)


def _discard(descriptor: int) -> None:
    """Discard everything that is written to the descriptor from now on."""
    with suppress(OSError):
        _open_null(descriptor, os.O_WRONLY)


def _open_null(descriptor: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    else:
        os.set_inheritable(descriptor, True)  # like a standard stream
