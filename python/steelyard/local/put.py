"""The ways of a source into a `LocalStore`: in one trip where it fits in memory, else through an ingest."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._runtime.buffers import view
from steelyard._runtime.calls import PIECE, run
from steelyard._runtime.jobs import watched
from steelyard.content import Writer
from steelyard.digest import Algorithm
from steelyard.errors import AlreadyExists, UnexpectedSize
from steelyard.local._rows import to_digest
from steelyard.local.files import FileTransfer, Trip, find_file, is_plain, store_file
from steelyard.local.small import SMALL, Stored, put_small, put_small_file
from steelyard.local.writer import LocalWriter
from steelyard.model import Buffer, PutResult, Source
from steelyard.options import PutOptions
from steelyard.transfer._source import FilePieces, Pieces, name_of, opened

if TYPE_CHECKING:
    from steelyard.local.store import LocalStore

__all__ = ("ONE_TRIP", "put")

ONE_TRIP = PIECE
"""A source of up to this many bytes is held in memory whole and stored in one trip to a thread."""


async def put(
    store: LocalStore, core: _native.Store, puts: _native.Gather, options: PutOptions, source: Source
) -> PutResult:
    """Store what `source` gives; see `LocalStore.put`. `puts` is the store's `gather`."""
    if options.expected is not None:
        found = (await store.infos([options.expected])).get(options.expected)
        if found is not None and options.size in (None, found.size):
            return PutResult(digest=found.digest, size=found.size, new=False)
    if isinstance(source, str | os.PathLike):
        return await _put_path(store, core, puts, options, os.fspath(source))
    if options.ref is None and (octets := _buffer(source)) is not None and octets.nbytes <= ONE_TRIP:
        if octets.nbytes <= SMALL:
            return _result(options, name_of(source), await put_small(puts, options, octets))
        return _result(options, name_of(source), await run(_put_octets, core, options, octets))
    async with opened(source) as pieces:
        return await _ingest(store, core, options, pieces, name_of(source))


async def _put_path(
    store: LocalStore, core: _native.Store, puts: _native.Gather, options: PutOptions, path: str
) -> PutResult:
    if options.ref is None and isinstance(path, str):
        small = await put_small_file(puts, options, path)
        if small is not None:
            return _result(options, path, small)
    stored = await run(_put_small_file, core, options, path)
    if not isinstance(stored, FileIO):
        return _result(options, path, stored)
    file = stored
    try:
        if is_plain(file):
            # CANCEL: an anonymous ingest leaves nothing; that of a ref is not touched yet.
            one_trip = store_file if options.ref is None else find_file
            known = await _trip(core, options, file, path, one_trip)
            if known is not None:
                return known
        pieces = FilePieces(file, owned=True)
        await pieces.measure()
        return await _ingest(store, core, options, pieces, path)
    finally:
        file.close()


async def _trip(
    core: _native.Store,
    options: PutOptions,
    file: FileIO,
    path: str,
    work: Callable[[_native.Store, PutOptions, FileIO, Trip], PutResult | None],
) -> PutResult | None:
    """Do with the file what takes one trip to a thread, and tell how far it is."""
    while True:
        trip = Trip(options, path)
        report = None if options.on_progress is None else trip.report
        result = await watched(trip.job, report, work, core, options, file, trip)
        if result is not None:
            trip.report()
            options.report("commit", path, result.size, result.size)
            return result
        if not trip.job.cancelled:
            return None
        # The caller was cancelled, and hears of it here.
        await checkpoint()


async def _ingest(store: LocalStore, core: _native.Store, options: PutOptions, pieces: Pieces, name: str) -> PutResult:
    total = pieces.size if options.size is None else options.size

    async def writer() -> Writer:
        if options.ref is None:
            native = await run(_anonymous, core, options.algorithm)
            return LocalWriter(native, None)
        return await store.writer(options.ref, size=total, expected=options.expected, algorithm=options.algorithm)

    if options.size is not None and pieces.size and pieces.size != options.size:
        raise UnexpectedSize(expected=options.size, actual=pieces.size, ref=options.ref)
    transfer = FileTransfer(pieces=pieces, name=name if options.ref is None else options.ref, options=options)
    try:
        return await transfer.run(writer)
    except AlreadyExists as stored:
        info = await store.info(stored.digest)
        return PutResult(digest=info.digest, size=info.size, new=False)


def _result(options: PutOptions, name: str, stored: Stored) -> PutResult:
    algorithm, encoded, size, new = stored
    options.report("commit", name, size, size)
    return PutResult(digest=to_digest(algorithm, encoded), size=size, new=new)


# What follows runs on worker threads.


def _put_octets(core: _native.Store, options: PutOptions, octets: Buffer) -> Stored:
    actual = len(memoryview(octets))
    if options.size not in (None, actual):
        raise UnexpectedSize(expected=options.size or 0, actual=actual)
    return core.put(
        octets,
        algorithm=options.algorithm.value,
        expected=None if options.expected is None else str(options.expected),
        labels=dict(options.labels) or None,
    )


def _put_small_file(core: _native.Store, options: PutOptions, path: str) -> Stored | FileIO:
    """Store a file that fits in memory; hand back the open file if it does not, or if it shall be resumable."""
    file = FileIO(path)
    try:
        if options.ref is None and os.fstat(file.fileno()).st_size <= ONE_TRIP:
            # One byte more than may be, to notice a file that is larger than it says.
            data = file.read(ONE_TRIP + 1)
            if len(data) <= ONE_TRIP and not file.read(1):
                file.close()
                return _put_octets(core, options, data)
            file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _anonymous(core: _native.Store, algorithm: Algorithm) -> _native.Ingest:
    return core.anonymous(algorithm=algorithm.value)


def _buffer(source: object) -> memoryview | None:
    try:
        return view(source)  # type: ignore[arg-type]  # the question is whether it is one
    except TypeError:
        return None
