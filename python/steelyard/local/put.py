"""Storing a source in a `LocalStore`: in one hop if it fits in memory, else through an ingest."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from io import FileIO

from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._runtime.buffers import view
from steelyard._runtime.calls import CALL_BYTES, run
from steelyard._runtime.jobs import watched
from steelyard._runtime.opening import opening
from steelyard.content import Writer
from steelyard.errors import StorageError, UnexpectedSize
from steelyard.local.blocking import BlockingStore
from steelyard.local.blocking._put import (
    MEMORY_LIMIT,
    FileProgress,
    Stored,
    batch_item,
    find_expected,
    find_file,
    is_plain,
    open_ingest,
    put_bytes,
    put_small_file,
    source_error,
    store_file,
    to_result,
)
from steelyard.local.writer import LocalWriter
from steelyard.model import PutResult, Source
from steelyard.options import PutOptions, name_of, path_error
from steelyard.transfer._ingest import Transfer
from steelyard.transfer._source import FilePieces, Pieces, RangePieces, opened

__all__ = ("SHARED_LIMIT", "Puts")

SHARED_LIMIT = 1 << 20
"""A source of up to this many bytes shares the hop, and its flush, with others."""

_HOP_SOURCES = 128
"""The most sources of a shared hop. While the hop runs, the next sources are collected, and the event loop runs."""

_HOP_BYTES = 16 << 20
"""The approximate limit of the bytes of a shared hop."""

_HOPS = max(2, (os.cpu_count() or 2) // 2)
"""The most shared hops at a time: while one waits for the disk, another hashes and writes."""

_GUESS = 64 << 10
"""The size that a file in a shared hop is assumed to have before it is opened."""

FileStep = Callable[[BlockingStore, PutOptions, FileIO, FileProgress], PutResult | None]


class Puts:
    """The puts of an open store. Small puts that arrive during a shared hop share the next hop."""

    def __init__(self, store: BlockingStore) -> None:
        self._store = store
        each = partial(store.native.put_each, limit=SHARED_LIMIT, lease=store.lease)
        self._batcher = _native.Batcher(each, most=_HOP_SOURCES, most_bytes=_HOP_BYTES, at_once=_HOPS)

    async def put(self, source: Source, options: PutOptions) -> PutResult:
        """Store a source; see `Store.put`."""
        if isinstance(source, str | os.PathLike):
            try:
                return await self._known(options) or await self._put_path(os.fspath(source), options)
            except (OSError, ValueError) as error:
                if (clearer := path_error(source, error)) is not error:
                    raise clearer from None
                raise
        if options.ref is not None:
            # The hop that opens the ingest also looks for the blob.
            async with opened(source) as pieces:
                return await self._ingest(pieces, name_of(source), options)
        if (known := await self._known(options)) is not None:
            return known
        if (octets := _buffer(source)) is not None and octets.nbytes <= MEMORY_LIMIT:
            if octets.nbytes <= SHARED_LIMIT:
                stored: Stored = await run(self._batcher, batch_item(options, octets), octets.nbytes)
                return _reported(options, name_of(source), to_result(stored))
            return _reported(options, name_of(source), await run(put_bytes, self._store, options, octets))
        async with opened(source) as pieces:
            return await self._ingest(pieces, name_of(source), options)

    async def _known(self, options: PutOptions) -> PutResult | None:
        """Return the result for the expected blob if it is stored."""
        return None if options.expected is None else await run(find_expected, self._store, options)

    async def _put_path(self, path: str, options: PutOptions) -> PutResult:
        if options.ref is None and isinstance(path, str):
            stored = await self._put_shared_file(path, options)
            if stored is not None:
                return _reported(options, path, to_result(stored))
        result = await run(put_small_file, self._store, options, path)
        if not isinstance(result, FileIO):
            return _reported(options, path, result)
        file = result
        try:
            if is_plain(file):
                # CANCEL: an anonymous ingest leaves nothing; an ingest with a ref has not been touched yet.
                known = await self._in_one_hop(store_file if options.ref is None else find_file, file, path, options)
                if known is not None:
                    return known
            pieces = FilePieces(file, owned=True)
            await pieces.measure()
            return await self._ingest(pieces, path, options)
        finally:
            file.close()

    async def _put_shared_file(self, path: str, options: PutOptions) -> Stored | None:
        """Store a file in a shared hop. If the file is large or not a regular file, do nothing and return None."""
        try:
            stored: Stored | None = await run(self._batcher, batch_item(options, path), _GUESS)
        except StorageError as error:
            raise source_error(path, error) from None
        return stored

    async def _in_one_hop(self, step: FileStep, file: FileIO, path: str, options: PutOptions) -> PutResult | None:
        """Run one step of storing a file in one hop, and report progress meanwhile."""
        while True:
            progress = FileProgress(options, path)
            report = None if options.on_progress is None else progress.report
            result = await watched(progress.job, report, step, self._store, options, file, progress)
            if result is not None:
                progress.report()
                return _reported(options, path, result)
            if not progress.job.cancelled:
                return None
            await checkpoint()  # the caller was cancelled: this raises

    async def _ingest(self, pieces: Pieces, name: str, options: PutOptions) -> PutResult:
        size = pieces.size if options.size is None else options.size

        @opening
        async def writer() -> Writer:
            if options.ref is None:
                return LocalWriter(await run(self._store.anonymous, options.algorithm))
            found = await run(open_ingest, self._store, options, size)
            if isinstance(found, PutResult):
                raise _StoredError(found)
            return LocalWriter(found)

        if options.size is not None and pieces.size and pieces.size != options.size:
            if (known := await self._known(options)) is not None:
                return known
            raise UnexpectedSize(options.ref, expected=options.size, actual=pieces.size)
        transfer = FileTransfer(pieces=pieces, name=name if options.ref is None else options.ref, options=options)
        try:
            return await transfer.run(writer)
        except _StoredError as stored:
            return stored.result


class _StoredError(Exception):
    """The blob is already stored."""

    def __init__(self, result: PutResult) -> None:
        super().__init__(result)
        self.result = result


class FileTransfer(Transfer, frozen=True, kw_only=True):
    """The transfer of any store, with a faster way for a file: the thread that reads it also writes it."""

    async def fill(self, writer: Writer, *, most: int = CALL_BYTES) -> None:
        """Write the rest of the source."""
        place = self.pieces.place() if isinstance(self.pieces, FilePieces | RangePieces) else None
        if isinstance(writer, LocalWriter) and place is not None:
            # CANCEL: the ingest's offset counts the bytes that were copied by then; no other part of the source was used.
            file, start = place
            await self._copy(writer, file, start)
            await self.pieces.seek(writer.offset)
        # For a plain file, these are the bytes that were appended to it meanwhile.
        await super().fill(writer, most=most)

    async def _copy(self, writer: LocalWriter, file: int, start: int) -> None:
        offset = writer.offset
        total = self.options.size
        if isinstance(self.pieces, RangePieces):
            total = self.pieces.size  # the bytes after the range are not part of the source
        most = None if total is None else max(0, total - offset)

        def report() -> None:
            self.report("write", writer.offset)

        await writer.copy_from(file, start + offset, most, None if self.options.on_progress is None else report)
        report()


def _reported(options: PutOptions, name: str, result: PutResult) -> PutResult:
    options.report("commit", name, result.size, result.size)
    return result


def _buffer(source: object) -> memoryview | None:
    try:
        return view(source)  # type: ignore[arg-type]  # the call checks whether it is a buffer
    except TypeError:
        return None
