"""Standard input and output that Ctrl-C can interrupt, even if a pipe is blocked.

A thread that reads an idle pipe, or writes to a reader that has stopped, may never come back. Pipes and terminals are
therefore waited for in the event loop; files, which always answer, go through threads like all other files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import AsyncGenerator

import anyio

from steelyard._runtime.calls import run
from steelyard.cli.explain import UsageError

__all__ = ("OutputClosed", "chunks", "is_terminal", "refuse_terminal", "write", "write_all")

STDIN = 0
STDOUT = 1
STDERR = 2
CHUNK_BYTES = 1 << 20


class OutputClosed(Exception):
    """The reader closed standard output."""


async def chunks(descriptor: int = STDIN) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a descriptor until its end, in chunks of at most 1 MiB."""
    with contextlib.suppress(OSError):  # not a pipe, or over the user's limit: a larger pipe is only faster
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    waits = _may_wait(descriptor)
    while True:
        if waits:
            await anyio.wait_readable(descriptor)
            try:
                data = os.read(descriptor, CHUNK_BYTES)
            except BlockingIOError:  # another process read the bytes
                continue
        else:
            data = await run(os.read, descriptor, CHUNK_BYTES)
        if not data:
            return
        yield data


async def write(data: bytes, descriptor: int = STDOUT) -> None:
    """Write all of `data`.

    Raises:
        OutputClosed: the reader has closed it.
        OSError: as the operating system says, a full device for one.
    """
    try:
        private = _reopened(descriptor)
        if private is None:
            await run(write_all, descriptor, data)
            return
        try:
            await _write_waiting(private, memoryview(data))
        finally:
            os.close(private)
    except BrokenPipeError:
        raise OutputClosed from None


async def _write_waiting(descriptor: int, rest: memoryview) -> None:
    while rest:
        await anyio.wait_writable(descriptor)
        with contextlib.suppress(BlockingIOError):
            rest = rest[os.write(descriptor, rest) :]


def _reopened(descriptor: int) -> int | None:
    """Open a pipe or terminal again in non-blocking mode; return None for other files, or if it is not possible.

    The descriptor itself is shared with the process that started us, whose reads and writes must go on blocking.
    """
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode) and not is_terminal(descriptor):
        return None
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None


def _may_wait(descriptor: int) -> bool:
    """Return whether the descriptor can block, and the event loop can wait for it."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or is_terminal(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`, in the calling thread."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except OSError as error:
            if descriptor == STDOUT and error.errno != errno.EPIPE:
                error.filename = "standard output"
            raise


def is_terminal(descriptor: int) -> bool:
    """Return whether the descriptor is a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def refuse_terminal(*, force: bool, next_step: str) -> None:
    """Refuse to write a blob's bytes to a terminal.

    Raises:
        UsageError: standard output is a terminal, and `force` is not given.
    """
    if not force and is_terminal(STDOUT):
        raise UsageError(
            "standard output is a terminal: expected a file or a pipe for a blob's bytes (--force writes them anyway)",
            next_step=next_step,
        )
