"""Whole files into a `LocalStore`: read, hashed and written in one trip to a thread, which the event loop only watches."""

from __future__ import annotations

import os
import stat
from io import FileIO
from typing import Literal

from steelyard import _native
from steelyard._runtime.calls import PIECE
from steelyard.content import Writer
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, NotFound, UnexpectedSize
from steelyard.local._rows import to_digest
from steelyard.local.writer import LocalWriter
from steelyard.model import PutResult
from steelyard.options import PutOptions
from steelyard.transfer._ingest import Transfer
from steelyard.transfer._source import FilePieces, RangePieces

__all__ = ("FileTransfer", "Trip", "find_file", "is_plain", "store_file")


class Trip:
    """A file on its way: where the thread that moves it is, for the event loop to see."""

    def __init__(self, options: PutOptions, name: str) -> None:
        self.job = _native.Job()
        self._options = options
        self._name = name
        self._phase: tuple[Literal["hash", "write"], int, int] | None = None
        self._told = (-1, -1)

    def enter(self, phase: Literal["hash", "write"], total: int) -> None:
        """Begin a phase; called by the thread."""
        self._phase = (phase, total, self.job.done)

    def report(self) -> None:
        """Tell the caller how far it is, if it has gone on."""
        if self._phase is None:
            return
        phase, total, before = self._phase
        told = (before, self.job.done - before)
        if told > self._told and told[1] > 0:
            self._told = told
            self._options.report(phase, self._name, min(told[1], total), total)


class FileTransfer(Transfer, frozen=True, kw_only=True):
    """The transfer of any store, with a faster way for a file: the thread that reads it also writes it."""

    async def fill(self, writer: Writer, *, most: int = PIECE) -> None:
        """Write the rest of the source."""
        place = self.pieces.place() if isinstance(self.pieces, FilePieces | RangePieces) else None
        if isinstance(writer, LocalWriter) and place is not None:
            # CANCEL: what was copied by then counts in the ingest's offset, and nothing else of the source was used.
            file, start = place
            await self._copy(writer, file, start)
            await self.pieces.seek(writer.offset)
        # Of a plain file, that is what it has grown by meanwhile.
        await super().fill(writer, most=most)

    async def _copy(self, writer: LocalWriter, file: int, start: int) -> None:
        offset = writer.offset
        total = self.options.size
        if isinstance(self.pieces, RangePieces):
            total = self.pieces.size  # what follows in the file is somebody else's
        most = None if total is None else max(0, total - offset)

        def report() -> None:
            self.report("write", writer.offset)

        await writer.copy_from(file, start + offset, most, None if self.options.on_progress is None else report)
        report()


# What follows runs on worker threads.


def is_plain(file: FileIO) -> bool:
    """Return whether the file can be read at any offset, and knows its size."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def find_file(core: _native.Store, options: PutOptions, file: FileIO, trip: Trip) -> PutResult | None:
    """Return the blob that the file is stored as, if it is, bytes for bytes; None if there is work to do.

    An ingest that `options.ref` could go on with is not passed over.
    """
    size = os.fstat(file.fileno()).st_size
    if options.size not in (None, size) or not _may_be_stored(core, options, size):
        return None
    trip.enter("hash", size)
    found = core.find(file.fileno(), size, options.algorithm.value, trip.job)
    if found is None or options.expected not in (None, digest := to_digest(*found)):
        return None
    return PutResult(digest=digest, size=size, new=False)


def store_file(core: _native.Store, options: PutOptions, file: FileIO, trip: Trip) -> PutResult | None:
    """Store a plain file, of which nothing remains should that fail, and close it; None if that was ended early."""
    result = _store_file(core, options, file, trip)
    if result is not None:
        file.close()  # here: it gives up Python's lock for a moment, for which the event loop may then wait
    return result


def _store_file(core: _native.Store, options: PutOptions, file: FileIO, trip: Trip) -> PutResult | None:
    known = find_file(core, options, file, trip)
    if known is not None or trip.job.cancelled:
        return known
    size = os.fstat(file.fileno()).st_size
    if options.size not in (None, size):
        raise UnexpectedSize(expected=options.size or 0, actual=size)
    ingest = core.anonymous(algorithm=options.algorithm.value)
    try:
        trip.enter("write", size)
        copied = ingest.copy_from(file.fileno(), 0, None, trip.job, None)
        if trip.job.cancelled:
            return None
        expected = None if options.expected is None else str(options.expected)
        try:
            algorithm, encoded, size, *_ = ingest.commit(options.size, expected, dict(options.labels))
        except AlreadyExists as stored:
            return PutResult(digest=Digest.parse(stored.digest), size=copied, new=False)
        return PutResult(digest=to_digest(algorithm, encoded), size=size, new=True)
    finally:
        ingest.close()


def _may_be_stored(core: _native.Store, options: PutOptions, size: int) -> bool:
    """Return whether there is a blob of that size, and no ingest to go on with."""
    if not core.has_size(size):
        return False
    try:
        return options.ref is None or core.status(options.ref) is None
    except NotFound:
        return True
