"""Opening the source of an import: a path, a stream, a layout or another store."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack
from typing import Self

import msgspec

from steelyard import _archive
from steelyard._runtime.calls import OpenFile, run, run_always
from steelyard._runtime.files import at_once
from steelyard._runtime.pipes import readable
from steelyard._runtime.scopes import managed
from steelyard.images.importing._blob_writer import ImportBlobWriter
from steelyard.images.importing._file import ArchiveFile
from steelyard.images.importing._provider import ImagesOf, LayoutSource, StoreSource
from steelyard.images.importing._source import ImageSource
from steelyard.images.importing._stream import ArchiveStream
from steelyard.images.layout import DirectoryLayout, LayoutDriver
from steelyard.images.read import ParsedDocuments
from steelyard.model import Buffer

__all__ = ("ImportSource", "SourceOpener", "name_of")


_READ_BYTES = 8 << 20
"""The most bytes of a piece of a compressed file or a pipe: one hop for several pieces of the archive."""

ImportSource = str | os.PathLike[str] | AsyncIterable[Buffer] | LayoutDriver | ImagesOf
"""The sources that `import_images` accepts."""


class SourceOpener(msgspec.Struct, frozen=True, kw_only=True):
    """Opens a source."""

    writer: ImportBlobWriter
    parsed: ParsedDocuments
    concurrency: int

    @managed
    async def open(self, source: ImportSource) -> AsyncIterator[ImageSource]:
        """Open the source. Objects that the caller opened stay open afterwards.

        Raises:
            TypeError: `source` is not a source.
            OSError: the file cannot be opened, or (in the block) cannot be read; with its path.
        """
        async with AsyncExitStack() as stack:
            try:
                yield await self._open(source, stack)
            except OSError as error:
                # The error of a read by descriptor has no path. The error of a refused thread (EAGAIN) does not concern the file.
                if error.filename is None and error.errno != errno.EAGAIN and isinstance(source, str | os.PathLike):
                    error.filename = os.fspath(source)
                raise

    async def _open(self, source: ImportSource, stack: AsyncExitStack) -> ImageSource:
        if isinstance(source, ImagesOf):
            return StoreSource(source, self.writer, self.parsed, self.concurrency)
        if isinstance(source, LayoutDriver):
            return LayoutSource(source, self.writer, self.parsed, self.concurrency)
        if isinstance(source, AsyncIterable):
            return ArchiveStream(source, self.writer, self.parsed)
        path = os.fspath(source)
        opened, mode, size, head = await run(_open_file, path)
        stack.push_async_callback(_close, opened)
        file = opened.fileno()
        if stat.S_ISDIR(mode):
            layout = await stack.enter_async_context(DirectoryLayout(path))
            return LayoutSource(layout, self.writer, self.parsed, self.concurrency)
        if not stat.S_ISREG(mode):
            return ArchiveStream(_File(file, waits=True), self.writer, self.parsed)
        if _archive.format_of(head) == "plain":
            return ArchiveFile(file, self.writer, self.parsed, self.concurrency)
        self.writer.ledger.total = size
        return ArchiveStream(_File(file, waits=False), self.writer, self.parsed)


def name_of(source: ImportSource) -> str:
    """Return the name of the source in reports: its path, or ``archive``, ``layout`` or ``store``."""
    if isinstance(source, ImagesOf):
        return "store"
    if isinstance(source, LayoutDriver):
        return "layout"
    return "archive" if isinstance(source, AsyncIterable) else os.fspath(source)


class _File:
    """The bytes of a file or a pipe, in pieces."""

    def __init__(self, file: int, *, waits: bool) -> None:
        self._file = file
        self._waits = waits

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._waits = self._waits and await readable(self._file)
        data = await run(os.read, self._file, _READ_BYTES)
        if not data:
            raise StopAsyncIteration
        return data


def _open_file(path: str) -> tuple[OpenFile, int, int, bytes]:
    """Open a file; return it with its mode, its size and, of a regular file, its first bytes."""
    file = OpenFile(at_once(path, os.O_RDONLY))
    try:
        found = os.fstat(file.fileno())
        head = os.pread(file.fileno(), _archive.HEAD, 0) if stat.S_ISREG(found.st_mode) else b""
    except BaseException:
        file.close()
        raise
    return file, found.st_mode, found.st_size, head


async def _close(file: OpenFile) -> None:
    await run_always(file.close)
