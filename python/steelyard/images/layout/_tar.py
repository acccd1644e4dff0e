"""A layout as a tar archive under construction, written to a stream."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from types import TracebackType
from typing import BinaryIO, Self

import anyio
from anyio import ClosedResourceError
from anyio.abc import ByteSendStream
from anyio.lowlevel import checkpoint

from steelyard._archive import END, padding
from steelyard._runtime.calls import run
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.opening import opening
from steelyard._runtime.scopes import managed
from steelyard.content import ReaderAt
from steelyard.digest import Algorithm, Digest
from steelyard.errors import FailedPrecondition, NotFound
from steelyard.images._pieces import READ_BYTES
from steelyard.images.layout._driver import (
    BlobWriter,
    HashedWriter,
    LayoutDriver,
)
from steelyard.images.layout._names import INDEX_FILE, LAYOUT_FILE
from steelyard.images.layout._stream import Archive, header
from steelyard.model import Buffer, Descriptor
from steelyard.options import PutOptions

__all__ = ("TarLayout",)


class TarLayout(ProcessBound, LayoutDriver):
    """A layout that is written as a tar archive, in one pass and bounded memory. It cannot be read.

    Use it in an ``async with``. Leaving the context without an exception writes the layout's files, which can be edited until then,
    and the end of the archive. After an exception the archive has no end and no index, so every reader refuses it. A blob of known size and
    digest is streamed; its last piece is held back until the blob is verified. Any other blob is spooled in a temporary file,
    because its digest is known only at its end.

    Args:
        sink: gets the archive; the caller closes it.
    """

    def __init__(self, sink: ByteSendStream) -> None:
        self._archive = Archive(sink)
        self._files: dict[str, bytes] = {}
        self._editing = anyio.Lock()

    async def __aenter__(self) -> Self:
        await checkpoint()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self._archive.state != "closed":
            await self.finish()
        self._archive.state = "closed"

    async def finish(self) -> None:
        """Write the layout's files and the end of the archive; then nothing can be added.

        Raises:
            NotFound: a file of the layout was never written; see `init`.
            FailedPrecondition: the archive is broken.
        """
        async with self._archive.entry_lock:
            files = [(name, await self._read(name)) for name in (LAYOUT_FILE, INDEX_FILE)]
            for name, data in files:
                await self._archive.send(header(name, len(data), 0o644) + data + bytes(padding(len(data))))
            await self._archive.send(END)
            self._archive.state = "closed"

    @opening
    async def blob_writer(
        self,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> BlobWriter:
        """Start a blob; see `LayoutDriver.blob_writer`. While a blob is streamed, others wait."""
        options = PutOptions.parse(size=size, expected=expected, algorithm=algorithm)
        self._archive.check()
        digest = options.expected
        if size is None or digest is None or digest.algorithm is not options.algorithm:
            return _Spooled(self._archive, await run(_spool), options)
        await self._archive.entry_lock.acquire()
        return _Streamed(self._archive, options, size, digest)

    async def delete_blob(self, digest: Digest | str) -> None:
        """Refuse: written blobs cannot be removed."""
        await checkpoint()
        raise FailedPrecondition(f"blob {digest}: an archive can only be added to")

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Refuse: written blobs cannot be read."""
        await checkpoint()
        raise FailedPrecondition(f"blob {Descriptor.of(blob).digest}: an archive under construction cannot be read")

    async def _read(self, name: str) -> bytes:
        await checkpoint()
        self._archive.check()
        if name not in self._files:
            raise NotFound(name, kind="file")
        return self._files[name]

    async def _write(self, name: str, data: bytes) -> None:
        await checkpoint()
        self._archive.check()
        self._files[name] = data

    @managed
    async def _edit(self) -> AsyncIterator[None]:
        async with self._editing:
            yield


def _spool() -> BinaryIO:
    # Unbuffered: a child of a fork would write its copy of the buffer, too.
    return tempfile.TemporaryFile("w+b", buffering=0)


class _Streamed(ProcessBound, HashedWriter):
    """A blob of known size and digest: each piece is written when the next one comes.

    It holds the lock of the archive until it is closed.
    """

    def __init__(self, archive: Archive, options: PutOptions, size: int, digest: Digest) -> None:
        super().__init__(options)
        self._archive = archive
        self._size = size
        self._digest = digest
        self._twice = archive.has(digest)
        self._held: bytes | None = None
        self._state = "new"

    async def write(self, data: Buffer) -> None:
        self._check()
        octets = bytes(self._octets(data))
        if len(octets) > READ_BYTES:
            await run(self._hasher.update, octets)
        else:
            self._hasher.update(octets)
            await checkpoint()
        if octets and not self._twice:
            await self._flush(b"")
            self._held = octets
        self._offset += len(octets)

    async def commit(self, *, size: int | None = None, expected: Digest | str | None = None) -> Digest:
        self._check()
        try:
            found = self._verified(size, expected)
            if not self._twice:
                await self._flush(bytes(padding(self._size)))
            self._state = "done"
            return found
        finally:
            self._close()

    async def aclose(self) -> None:
        self._close()
        await checkpoint()

    async def _flush(self, end: bytes) -> None:
        """Write the held piece, or the headers if there was none, and then `end`."""
        piece = self._archive.head(self._digest, self._size) if self._held is None else self._held
        self._state = "begun"
        await self._archive.send(piece + end)

    def _check(self) -> None:
        if self._state == "closed":
            raise ClosedResourceError

    def _close(self) -> None:
        if self._state == "closed":
            return
        if self._state == "begun":
            # The stream has a part of the entry, and will never have the rest.
            self._archive.state = "broken"
        self._state = "closed"
        self._archive.entry_lock.release()


class _Spooled(ProcessBound, HashedWriter):
    """A blob whose digest is known only at its end; it is written to the archive after that."""

    def __init__(self, archive: Archive, file: BinaryIO, options: PutOptions) -> None:
        super().__init__(options)
        self._archive = archive
        self._file: BinaryIO | None = file

    async def write(self, data: Buffer) -> None:
        await run(self._append, self._octets(data))

    def _append(self, octets: memoryview) -> None:
        rest = octets
        while rest:
            rest = rest[self._opened.write(rest) :]
        self._hasher.update(octets)
        self._offset += len(octets)

    async def commit(self, *, size: int | None = None, expected: Digest | str | None = None) -> Digest:
        try:
            file = self._opened
            found = self._verified(size, expected)
            async with self._archive.entry_lock:
                if not self._archive.has(found):
                    await self._archive.send(self._archive.head(found, self._offset))
                    await self._copy(file)
            return found
        finally:
            self._close()

    async def _copy(self, file: BinaryIO) -> None:
        await run(file.seek, 0)
        left = self._offset
        while left:
            piece = await run(file.read, min(left, READ_BYTES))
            left -= len(piece)
            await self._archive.send(piece if left else piece + bytes(padding(self._offset)))

    async def aclose(self) -> None:
        self._close()
        await checkpoint()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @property
    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ClosedResourceError
        return self._file
