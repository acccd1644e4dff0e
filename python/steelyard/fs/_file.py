"""Open files: a blob to read, or a new blob to write."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from fsspec.asyn import sync
from fsspec.spec import reopen

from steelyard.content import ReaderAt, Store
from steelyard.digest import Digest
from steelyard.fs._bases import AsyncFile, BlockingFile, Transaction
from steelyard.fs._errors import os_errors
from steelyard.fs._writing import NewBlob, finish_batch
from steelyard.model import PutResult

__all__ = ("NameTransaction", "OpenBlob", "SteelyardAsyncFile", "SteelyardFile")


class OpenBlob:
    """An open blob. A read of the whole blob is verified; other ranges are not."""

    def __init__(self, store: Store, reader: ReaderAt) -> None:
        self._store = store
        self._reader = reader
        self.digest: Digest = reader.digest
        self.size: int = reader.size

    async def read(self, start: int, end: int) -> bytes:
        """Return the bytes of a range."""
        start, end = max(0, start), min(end, self.size)
        if start == 0 and end == self.size:
            return await self._store.get(self.digest)
        return await self._reader.read_at(start, end - start) if start < end else b""

    async def aclose(self) -> None:
        """Close the reader."""
        await self._reader.aclose()


class SteelyardFile(BlockingFile):
    """A file of a `SteelyardFileSystem`, for blocking programs; `SteelyardFileSystem.open` returns it.

    A file to read does not change, even if its name is set to another blob. When a file to write is closed, its bytes become a blob, and its
    name is set in one step. They are discarded if the ``with`` block raises, if the file is closed while the program handles an exception
    that was raised after the opening, or if the file is dropped without being closed.

    Attributes:
        digest: the digest of the bytes; for a file to write, None until it is closed.
        result: the result of a file to write, None until it is closed.
    """

    def __init__(
        self, fs: Any, path: str, mode: str, *, blob: OpenBlob | None = None, new: NewBlob | None = None, **options: Any
    ) -> None:
        self._blob = blob
        self._new = new
        self._handled = sys.exception()  # the program already handles this one
        self.digest: Digest | None = None if blob is None else blob.digest
        self.result: PutResult | None = None
        super().__init__(fs, path, mode, size=None if blob is None else blob.size, **options)

    @property
    def new_blob(self) -> NewBlob | None:
        """The bytes of a file to write."""
        return self._new

    @property
    def details(self) -> dict[str, Any]:
        """The info of a file to read, as it was opened."""
        return {"name": self.path, "size": self.size, "type": "file", "digest": str(self.digest)}

    def _fetch_range(self, start: int, end: int) -> bytes:
        assert self._blob is not None  # noqa: S101  # the file is one to read
        data: bytes = sync(self.fs.loop, self._blob.read, start, end)
        return data

    def _initiate_upload(self) -> None:
        """Do nothing: the first write starts the ingest."""

    def _upload_chunk(self, final: bool = False) -> bool:
        assert self._new is not None  # noqa: S101  # the file is one to write
        data = self.buffer.getvalue()
        if final and self.autocommit:
            self._finish(data)
        elif data:
            sync(self.fs.loop, self._new.write, data)
        return True

    def _finish(self, rest: bytes) -> None:
        assert self._new is not None  # noqa: S101  # as above
        with os_errors(self.path):
            result: PutResult = sync(self.fs.loop, self._new.finish, rest)
        self.committed(result)

    def commit(self) -> None:
        """Store the bytes that a transaction or ``autocommit=False`` has held back, and set the name."""
        if self.result is None:
            self._finish(b"")

    def committed(self, result: PutResult) -> None:
        """Record that the bytes are stored."""
        self.result, self.digest = result, result.digest

    def discard(self) -> None:
        """Discard the bytes of a file to write, unless they are stored."""
        self._closed = True
        if self.result is None and self._new is not None:
            sync(self.fs.loop, self._new.discard)

    def close(self) -> None:
        """Close the file. The bytes of a file to write become a blob, and its name is set, unless a new exception is being handled."""
        if self.closed:
            return
        error = sys.exception()
        if self._new is not None and error is not None and error is not self._handled:
            # Programs such as pandas close a file in an `__exit__` of their own, without the error.
            self.discard()
            return
        try:
            super().close()
        except BaseException:
            if self._new is not None:
                self.discard()
            raise
        finally:
            if self._blob is not None:
                sync(self.fs.loop, self._blob.aclose)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and self._new is not None:
            self.discard()
        else:
            self.close()

    def __del__(self) -> None:
        if self.closed:
            return
        self._closed = True
        owned = self._new or self._blob
        if owned is not None:
            self.fs.release_soon(owned.discard if isinstance(owned, NewBlob) else owned.aclose)

    def __reduce__(self) -> Any:
        if self._blob is None:
            raise TypeError("cannot pickle a file to write")
        return reopen, (self.fs, str(self.digest), "rb", self.blocksize, self.loc, self.size, True, "readahead", {})


class NameTransaction(Transaction):
    """A transaction: the names of its files are set in one step."""

    def complete(self, commit: bool = True) -> None:
        """End the transaction: store all files, or discard them."""
        files: list[SteelyardFile] = list(self.files)
        if commit and files:
            try:
                for file in files:
                    file.close()
                with os_errors(files[0].path):
                    results = sync(self.fs.loop, finish_batch, [file.new_blob for file in files])
            except BaseException:
                super().complete(commit=False)
                raise
            for file, result in zip(files, results, strict=True):
                file.committed(result)
            self.files.clear()
        super().complete(commit)


class SteelyardAsyncFile(AsyncFile):
    """A file of a `SteelyardFileSystem` in an asyncio event loop; `SteelyardFileSystem.open_async` returns it. See `SteelyardFile`.

    Attributes:
        digest: the digest of the bytes; for a file to write, None until it is closed.
        result: the result of a file to write, None until it is closed.
    """

    def __init__(
        self, fs: Any, path: str, mode: str, *, blob: OpenBlob | None = None, new: NewBlob | None = None, **options: Any
    ) -> None:
        self._blob = blob
        self._new = new
        self.digest: Digest | None = None if blob is None else blob.digest
        self.result: PutResult | None = None
        super().__init__(fs, path, mode, size=None if blob is None else blob.size, **{**options, "cache_type": "none"})

    @property
    def details(self) -> dict[str, Any]:
        """The info of a file to read, as it was opened."""
        return {"name": self.path, "size": self.size, "type": "file", "digest": str(self.digest)}

    async def _fetch_range(self, start: int, end: int) -> bytes:
        assert self._blob is not None  # noqa: S101  # the file is one to read
        return await self._blob.read(start, end)

    async def _upload_chunk(self, final: bool = False) -> bool:
        assert self._new is not None  # noqa: S101  # the file is one to write
        data = self.buffer.getvalue()
        if final:
            with os_errors(self.path):
                self.result = await self._new.finish(data)
            self.digest = self.result.digest
        elif data:
            await self._new.write(data)
        return True

    async def discard(self) -> None:
        """Discard the bytes of a file to write, unless they are stored."""
        self._closed = True
        if self._new is not None:
            await self._new.discard()

    async def close(self) -> None:
        """Close the file. The bytes of a file to write become a blob, and its name is set."""
        if self.closed:
            return
        try:
            await super().close()
        except BaseException:
            await self.discard()
            raise
        finally:
            self._closed = True
            if self._blob is not None:
                await self._blob.aclose()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and self._new is not None:
            await self.discard()
        else:
            await self.close()
