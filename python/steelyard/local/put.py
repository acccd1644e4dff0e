"""The ways of a source into a `LocalStore`: in one trip where it fits in memory, else through an ingest."""

from __future__ import annotations

import os
from io import FileIO
from typing import TYPE_CHECKING, Literal

import msgspec

from steelyard import _native
from steelyard._bridge import PIECE, run
from steelyard._buffers import view
from steelyard._types import Buffer, OnProgress, Source
from steelyard.content import Writer
from steelyard.digest import Algorithm, Digest
from steelyard.errors import AlreadyExists, NotFound, UnexpectedSize
from steelyard.local._rows import to_digest
from steelyard.local.writer import LocalWriter
from steelyard.model import Labels, Progress, PutResult
from steelyard.transfer._ingest import Job
from steelyard.transfer._source import FilePieces, Pieces, name_of, opened

if TYPE_CHECKING:
    from steelyard.local.store import LocalStore

__all__ = ("ONE_TRIP", "Request", "put")

ONE_TRIP = PIECE
"""A source of up to this many bytes is held in memory whole and stored in one trip to a thread."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What `put` was asked for, parsed; see `Store.put`."""

    size: int | None
    expected: Digest | None
    algorithm: Algorithm
    labels: Labels
    ref: str | None
    on_progress: OnProgress | None

    def report(self, phase: Literal["hash", "commit"], name: str, done: int, total: int) -> None:
        """Tell the caller how far it is."""
        if self.on_progress is not None:
            self.on_progress(Progress(phase=phase, name=name, done=done, total=total))


async def put(store: LocalStore, core: _native.Store, request: Request, source: Source) -> PutResult:
    """Store what `source` gives; see `LocalStore.put`."""
    if request.expected is not None:
        found = (await store.infos([request.expected])).get(request.expected)
        if found is not None and request.size in (None, found.size):
            return PutResult(digest=found.digest, size=found.size, new=False)
    if isinstance(source, str | os.PathLike):
        return await _put_path(store, core, request, os.fspath(source))
    if request.ref is None and (octets := _buffer(source)) is not None and octets.nbytes <= ONE_TRIP:
        return _result(request, name_of(source), await run(_put_octets, core, request, octets))
    async with opened(source) as pieces:
        return await _ingest(store, core, request, pieces, name_of(source))


async def _put_path(store: LocalStore, core: _native.Store, request: Request, path: str) -> PutResult:
    stored = await run(_put_small_file, core, request, path)
    if not isinstance(stored, FileIO):
        return _result(request, path, stored)
    file, pieces = stored, FilePieces(stored, owned=True)
    try:
        await pieces.measure()
        if pieces.size and await run(_may_be_stored, core, request, pieces.size):
            # There may be nothing to write. A pass over the file is cheaper than a blob's worth of writes.
            known = await _same_as_stored(core, request, file, path, pieces.size)
            if known is not None:
                return known
            await pieces.seek(0)
        return await _ingest(store, core, request, pieces, path)
    finally:
        # CANCEL: the ingest, if any, was left by its own writer; only the file is ours to close.
        await pieces.aclose()


async def _ingest(store: LocalStore, core: _native.Store, request: Request, pieces: Pieces, name: str) -> PutResult:
    total = pieces.size if request.size is None else request.size

    async def writer() -> Writer:
        if request.ref is None:
            native = await run(_anonymous, core, request.algorithm)
            return LocalWriter(native, None)
        return await store.writer(request.ref, size=total, expected=request.expected, algorithm=request.algorithm)

    if request.size is not None and pieces.size and pieces.size != request.size:
        raise UnexpectedSize(expected=request.size, actual=pieces.size, ref=request.ref)
    job = Job(
        pieces=pieces,
        name=name if request.ref is None else request.ref,
        size=request.size,
        expected=request.expected,
        labels=request.labels,
        on_progress=request.on_progress,
    )
    try:
        return await job.run(writer)
    except AlreadyExists as stored:
        info = await store.info(stored.digest)
        return PutResult(digest=info.digest, size=info.size, new=False)


async def _same_as_stored(
    core: _native.Store, request: Request, file: FileIO, path: str, size: int
) -> PutResult | None:
    """Hash the file; return its blob if that is stored with the very same bytes, None if there is work to do."""
    hasher = _native.Hasher([request.algorithm.value])
    done = 0
    while count := await run(_hash_piece, file, hasher):
        done += count
        request.report("hash", path, done, size)
    digest = Digest(request.algorithm, hasher.encoded()[0])
    if request.expected not in (None, digest) or request.size not in (None, done):
        return None
    try:
        blob = await run(core.blob, str(digest))
    except NotFound:
        return None
    try:
        await run(file.seek, 0)
        offset = 0
        # A damaged copy must not pass for the blob: the way through an ingest would heal it.
        while count := await run(_same_piece, file, blob, offset):
            if count < 0:
                return None
            offset += count
        return PutResult(digest=digest, size=done, new=False) if offset == blob.size == done else None
    finally:
        blob.close()


def _result(request: Request, name: str, stored: tuple[str, str, int, bool]) -> PutResult:
    algorithm, encoded, size, new = stored
    request.report("commit", name, size, size)
    return PutResult(digest=to_digest(algorithm, encoded), size=size, new=new)


# What follows runs on worker threads.


def _put_octets(core: _native.Store, request: Request, octets: Buffer) -> tuple[str, str, int, bool]:
    actual = len(memoryview(octets))
    if request.size not in (None, actual):
        raise UnexpectedSize(expected=request.size or 0, actual=actual)
    return core.put(
        octets,
        algorithm=request.algorithm.value,
        expected=None if request.expected is None else str(request.expected),
        labels=dict(request.labels) or None,
    )


def _put_small_file(core: _native.Store, request: Request, path: str) -> tuple[str, str, int, bool] | FileIO:
    """Store a file that fits in memory; hand back the open file if it does not, or if it shall be resumable."""
    file = FileIO(path)
    try:
        if request.ref is None and os.fstat(file.fileno()).st_size <= ONE_TRIP:
            # One byte more than may be, to notice a file that is larger than it says.
            data = file.read(ONE_TRIP + 1)
            if len(data) <= ONE_TRIP and not file.read(1):
                file.close()
                return _put_octets(core, request, data)
            file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _may_be_stored(core: _native.Store, request: Request, size: int) -> bool:
    """Return whether there is a blob of that size, and no ingest to go on with."""
    if not core.has_size(size):
        return False
    try:
        return request.ref is None or core.status(request.ref) is None
    except NotFound:
        return True


def _anonymous(core: _native.Store, algorithm: Algorithm) -> _native.Ingest:
    return core.anonymous(algorithm=algorithm.value)


def _hash_piece(file: FileIO, hasher: _native.Hasher) -> int:
    data = file.read(PIECE)
    hasher.update(data)
    return len(data)


def _same_piece(file: FileIO, blob: _native.Blob, offset: int) -> int:
    """Return the length of the next piece, 0 at the end, -1 if it differs from the blob's."""
    data = file.read(1 << 20)
    if offset + len(data) > blob.size:
        return -1
    return len(data) if blob.read_at(offset, len(data)) == data else -1


def _buffer(source: object) -> memoryview | None:
    try:
        return view(source)  # type: ignore[arg-type]  # the question is whether it is one
    except TypeError:
        return None
