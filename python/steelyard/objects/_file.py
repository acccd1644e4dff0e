"""A large file that is open, of which parts are read and hashed for an upload."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from io import FileIO
from pathlib import Path

from steelyard._archive._references import DOCUMENT_LIMIT
from steelyard._runtime.calls import run, run_always
from steelyard._runtime.files import open_regular
from steelyard._runtime.scopes import managed
from steelyard.hashing import Hasher
from steelyard.model import FileRange, Source
from steelyard.options import path_error

__all__ = ("ChangedError", "LargeFile", "large_file")


class ChangedError(Exception):  # no error of the caller's
    """The file does not have the digest for which it is sent; the argument is the one that it has, if all of it could be read."""


class LargeFile:
    """A regular file that is open.

    Attributes:
        file: the file; who opened it closes it.
        range: all of it.
        report: called with the bytes that were read so far.
    """

    def __init__(self, file: FileIO, size: int) -> None:
        self.file = file
        self.range = FileRange(file.fileno(), 0, size)
        self.report: Callable[[int], object] = lambda _: None

    async def read(self, hasher: Hasher, offset: int, size: int) -> bytes:
        """Return a part, and hash it; `ChangedError` if the file has become shorter."""
        data = await run(_read, self.range.file, hasher, offset, size)
        self.report(offset + size)
        return data


@managed
async def large_file(source: Source, *, more: int) -> AsyncIterator[LargeFile | None]:
    """Open a path that is a regular file of more than `more` bytes and too large for a document; give None for any other source.

    Raises:
        OSError: the file does not open.
    """
    opened = None
    if isinstance(source, str | os.PathLike):
        try:
            opened = await run(_open, Path(source), max(more, DOCUMENT_LIMIT))
        except (OSError, ValueError) as error:
            raise path_error(source, error) from None
    try:
        yield opened
    finally:
        if opened is not None:
            await run_always(opened.file.close)


def _open(path: Path, more: int) -> LargeFile | None:
    file = open_regular(path)
    if file is None:
        return None
    size = os.fstat(file.fileno()).st_size
    if size > more:
        return LargeFile(file, size)
    file.close()
    return None


def _read(file: int, hasher: Hasher, offset: int, size: int) -> bytes:
    data = os.pread(file, size, offset)
    if len(data) < size:
        # A read may end early at a signal only, or at the end of the file.
        data += os.pread(file, size - len(data), offset + len(data))
    if len(data) < size:
        raise ChangedError
    hasher.update(data)
    return data
