"""Standard input and output that Ctrl-C can interrupt, even if a pipe is blocked.

A thread that reads an idle pipe, or writes to a pipe whose reader has stopped, may block for ever. So the event loop waits
for pipes and terminals. Threads read and write regular files, which never block for long.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import anyio

from steelyard._lazy import Module
from steelyard.cli.explain import UsageError
from steelyard.cli.streams import OUTPUT

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard._runtime import calls, files
else:
    calls = Module("steelyard._runtime.calls")
    files = Module("steelyard._runtime.files")

__all__ = (
    "OutputClosed",
    "chunks",
    "is_terminal",
    "open_special",
    "refuse_terminal",
    "write",
    "write_all",
    "write_here",
)

STDIN = 0
STDOUT = 1
STDERR = 2
CHUNK_BYTES = 1 << 20

_NO_READER_SECONDS = 0.02


class OutputClosed(Exception):
    """The reader closed standard output."""


async def chunks(descriptor: int = STDIN) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a descriptor until its end, in chunks of at most 1 MiB."""
    with contextlib.suppress(OSError):  # not a pipe, or over the user's limit; a larger pipe would only be faster
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
            data = await calls.run(os.read, descriptor, CHUNK_BYTES)
        if not data:
            return
        yield data


async def open_special(path: Path) -> calls.OpenFile:
    """Open a device or a named pipe to write into it. The wait for the reader of a pipe can be cancelled."""
    while (opened := await calls.run(_open_special, path)) is None:  # noqa: ASYNC110  # the kernel does not notify when a reader opens it
        await anyio.sleep(_NO_READER_SECONDS)
    return opened


def _open_special(path: Path) -> calls.OpenFile | None:
    try:
        return calls.OpenFile(files.at_once(path, os.O_WRONLY))
    except OSError as error:
        if error.errno == errno.ENXIO and path.is_fifo():
            return None  # it has no reader yet
        raise


async def write(data: bytes, descriptor: int = STDOUT) -> None:
    """Write all of `data`.

    Raises:
        OutputClosed: the reader has closed it.
        OSError: the error of the operating system, such as a full device.
    """
    try:
        private = _reopened(descriptor)
        if private is None:
            await calls.run(write_all, descriptor, data)
            return
        try:
            await _write_waiting(private, memoryview(data))
        finally:
            os.close(private)
    except BrokenPipeError:
        raise OutputClosed from None


def write_here(data: bytes, *, seconds: float | None = None) -> None:
    """Write all of `data` to standard output in this thread, for a command without an event loop. A signal interrupts it.

    Args:
        data: the bytes to write.
        seconds: how long to wait for a reader that has stopped; the remaining bytes are then lost. By default there is no limit.

    Raises:
        OutputClosed, OSError: as for `write`.
    """
    try:
        private = None if seconds is None else _reopened(STDOUT)
        if seconds is None or private is None:
            write_all(STDOUT, data)
            return
        try:
            _write_polling(private, memoryview(data), time.monotonic() + seconds)
        finally:
            os.close(private)
    except BrokenPipeError:
        raise OutputClosed from None


def _write_polling(descriptor: int, rest: memoryview, end: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while rest and poll.poll(max(0.0, end - time.monotonic()) * 1000):
        with contextlib.suppress(BlockingIOError):
            rest = rest[os.write(descriptor, rest) :]


async def _write_waiting(descriptor: int, rest: memoryview) -> None:
    while rest:
        await anyio.wait_writable(descriptor)
        with contextlib.suppress(BlockingIOError):
            rest = rest[os.write(descriptor, rest) :]


def _reopened(descriptor: int) -> int | None:
    """Open a pipe or terminal again in non-blocking mode; return None for other files, or if it is not possible.

    The descriptor itself is shared with the process that started this one, whose reads and writes must stay blocking.
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
                error.filename = OUTPUT
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
