"""A large open file, whose parts are read and hashed for an upload."""

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


class ChangedError(Exception):  # callers of the store never see it
    """The file does not have the expected digest. The argument is its actual digest, if the whole file could be read."""


class LargeFile:
    """An open regular file.

    Attributes:
        file: the file; the function that opened it closes it.
        range: the range of the whole file.
        report: called with the number of bytes that were read so far.
    """

    def __init__(self, file: FileIO, size: int) -> None:
        self.file = file
        self.range = FileRange(file.fileno(), 0, size)
        self.report: Callable[[int], object] = lambda _: None

    async def read(self, hasher: Hasher, offset: int, size: int) -> bytes:
        """Return a part, and hash it; raises `ChangedError` if the file has become shorter."""
        data = await run(_read, self.range.file, hasher, offset, size)
        self.report(offset + size)
        return data


@managed
async def large_file(source: Source, *, more: int) -> AsyncIterator[LargeFile | None]:
    """Open a regular file of more than `more` bytes that is too large for a document. For any other source, yield None.

    Raises:
        OSError: the file cannot be opened.
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
        # A read ends early only at a signal or at the end of the file.
        data += os.pread(file, size - len(data), offset + len(data))
    if len(data) < size:
        raise ChangedError
    hasher.update(data)
    return data
