"""A layout in a directory."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio import ClosedResourceError

from steelyard._runtime.calls import OpenFile, run, run_always
from steelyard._runtime.fork import UNBOUND, Process, ProcessBound
from steelyard._runtime.opening import opening
from steelyard._runtime.scopes import managed
from steelyard.base import BaseReader
from steelyard.content import ReaderAt
from steelyard.digest import Algorithm, Digest
from steelyard.errors import DataCorrupt, FailedPrecondition, NotFound, StorageError
from steelyard.images.layout import _files
from steelyard.images.layout._driver import BlobWriter, HashedWriter, LayoutDriver
from steelyard.images.layout._names import BLOBS, blob_name
from steelyard.model import Buffer, Descriptor
from steelyard.options import PutOptions, check_range

__all__ = ("DirectoryLayout",)

_INLINE = 64 << 10
_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.1


class DirectoryLayout(ProcessBound, LayoutDriver):
    """A layout in a directory. Use it in an ``async with``; several tasks and processes may use the directory at once.

    The directory has only OCI's files. There is no lock file, and a crash leaves at most a file ``.steelyard-…`` on file systems
    without unnamed files. When a call returns, its changes survive a power loss. The directory need not be trusted: links in it
    are not followed, and only regular files are read.

    Args:
        path: the directory; if it does not exist, it is made on opening.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = str(Path(path).absolute())
        self._root: OpenFile | None = None
        self._lock = anyio.Lock()
        self._process = UNBOUND

    @property
    def path(self) -> Path:
        """The absolute path of the directory."""
        return Path(self._path)

    async def __aenter__(self) -> Self:
        if self._root is None:
            self._root = await run(_files.make_root, self._path)
            self._process = Process()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the directory; may be called twice. Open readers and writers stay usable."""
        root, self._root = self._root, None
        self._process = UNBOUND
        if root is not None:
            await run_always(root.close)

    async def digests(self) -> list[Digest]:
        """Return the digests of all blobs, sorted. Other files are ignored."""
        return await run(_files.list_digests, self._open, self._path)

    @opening
    async def blob_writer(
        self,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> BlobWriter:
        """Start a blob; see `LayoutDriver.blob_writer`."""
        options = PutOptions.parse(size=size, expected=expected, algorithm=algorithm)
        return await run(_Writer, self._open, self._path, options)

    async def delete_blob(self, digest: Digest | str) -> None:
        """Remove a blob, durably; see `LayoutDriver.delete_blob`."""
        await run(_delete, self._open, self._path, Digest.parse(digest))

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob; see `Provider.reader_at`."""
        given = Descriptor.of(blob)
        reader = await run(_Reader, self._open, self._path, given.digest)
        try:
            given.check_size(reader.size)
        except DataCorrupt:
            await reader.aclose()
            raise
        return reader

    async def _read(self, name: str) -> bytes:
        return await run(_files.read_file, self._open, self._path, name, self.limits.json_bytes + 1)

    async def _write(self, name: str, data: bytes) -> None:
        await run(_files.replace_file, self._open, self._path, name, data)

    @managed
    async def _edit(self) -> AsyncIterator[None]:
        async with self._lock:
            root = await run(_files.open_again, self._open, self._path)
            try:
                # A wait in the kernel could not be cancelled, so this loop tries to take the lock until it succeeds.
                wait = _FIRST_WAIT
                while not _files.try_lock(root, self._path):
                    await anyio.sleep(wait)
                    wait = min(wait * 2, _LONGEST_WAIT)
                yield
            finally:
                root.close()

    @property
    def _open(self) -> int:
        if self._root is None:
            raise FailedPrecondition(f"layout {self._path}: not open; use it in `async with`")
        return self._root.fileno()


def _delete(root: int, path: str, digest: Digest) -> None:
    shown = f"{path}/{blob_name(digest)}"
    with _files.closing_fd(_blob_dir(root, path, digest)) as directory, _files.storage_errors(shown, "delete"):
        try:
            os.unlink(digest.encoded, dir_fd=directory)
        except FileNotFoundError:
            raise NotFound(digest) from None
        # DURABILITY: after a power cut before this sync, the complete blob may still exist.
        os.fsync(directory)


def _blob_dir(root: int, path: str, digest: Digest) -> int:
    try:
        return _files.open_dir(root, path, (BLOBS, digest.algorithm.value), make=False)
    except StorageError as error:
        if error.errno == errno.ENOENT:
            raise NotFound(digest) from None
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise DataCorrupt(
                f"{path}/blobs", expected="directories", actual=f"a link or a file: {_files.LINKS}"
            ) from None
        raise


class _Writer(ProcessBound, HashedWriter):
    """A file without a name, and its directory."""

    def __init__(self, root: int, path: str, options: PutOptions) -> None:
        super().__init__(options)
        self._directory = OpenFile(_files.open_dir(root, path, (BLOBS, options.algorithm.value), make=True))
        shown = f"{path}/{BLOBS}/{options.algorithm}"
        self._file: _files.NewFile | None = _files.NewFile(self._directory.fileno(), shown)

    async def write(self, data: Buffer) -> None:
        await run(self._append, self._octets(data))

    def _append(self, octets: memoryview) -> None:
        self._opened.write(octets)
        self._hasher.update(octets)
        self._offset += len(octets)

    async def commit(self, *, size: int | None = None, expected: Digest | str | None = None) -> Digest:
        try:
            file = self._opened
            found = self._verified(size, expected)
            # CANCEL: publishing is not interrupted; the blob is complete in the layout, or not there.
            await run(file.publish, found.encoded, 0o444)
            return found
        finally:
            self.close()

    async def aclose(self) -> None:
        self.close()
        await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        """Discard the file if it was not published; also called if the caller of `blob_writer` was cancelled."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._directory.close()

    @property
    def _opened(self) -> _files.NewFile:
        if self._file is None:
            raise ClosedResourceError
        return self._file


class _Reader(ProcessBound, BaseReader):
    def __init__(self, root: int, path: str, digest: Digest) -> None:
        self._digest = digest
        shown = f"{path}/{blob_name(digest)}"
        with _files.closing_fd(_blob_dir(root, path, digest)) as directory, _files.storage_errors(shown, "open"):
            try:
                self._file = OpenFile(_files.open_file(directory, digest.encoded, shown))
            except FileNotFoundError:
                raise NotFound(digest) from None
        self._size = os.fstat(self._file.fileno()).st_size

    @property
    def digest(self) -> Digest:
        return self._digest

    @property
    def size(self) -> int:
        return self._size

    def fileno(self) -> int:
        number = self._file.fileno()
        if number < 0:
            raise ClosedResourceError
        return number

    async def read_at(self, offset: int, size: int) -> bytes:
        number = self.fileno()
        check_range(self._digest, self._size, offset, size)
        return await run(self._pread, number, offset, size)

    def _pread(self, number: int, offset: int, size: int) -> bytes:
        with _files.storage_errors(str(self._digest), "read"):
            pieces = []
            # A byte past the end may be requested, to notice a blob that grew. The size is not used to reserve memory.
            while size > 0 and (piece := os.pread(number, min(size, 8 << 20), offset)):
                pieces.append(piece)
                offset += len(piece)
                size -= len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close the file; also called if the caller of `reader_at` was cancelled."""
        self._file.close()

    async def aclose(self) -> None:
        self.close()
        await anyio.lowlevel.checkpoint()
