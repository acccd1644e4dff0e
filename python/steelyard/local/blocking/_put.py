"""The steps of a put that run on a thread."""

from __future__ import annotations

import os
import stat
from io import FileIO
from typing import Literal

from steelyard import _native
from steelyard._runtime.files import at_once
from steelyard.errors import AlreadyExists, NotFound, StorageError, Unavailable, UnexpectedSize
from steelyard.local.blocking._ingest import BlockingIngest
from steelyard.local.blocking._rows import to_digest
from steelyard.local.blocking._store import BlockingStore
from steelyard.model import Buffer, PutResult
from steelyard.options import IngestOptions, PutOptions

__all__ = (
    "MEMORY_LIMIT",
    "FileProgress",
    "Stored",
    "batch_item",
    "find_expected",
    "find_file",
    "is_plain",
    "open_ingest",
    "put_bytes",
    "put_small_file",
    "source_error",
    "store_file",
    "to_result",
)

MEMORY_LIMIT = 8 << 20
"""A source of up to this many bytes is read into memory as a whole and stored in one hop."""

Stored = tuple[str, str, int, bool]
"""A blob's algorithm, encoded hash and size, and whether it is new."""


def to_result(stored: Stored) -> PutResult:
    """Return the result of a native put."""
    algorithm, encoded, size, new = stored
    return PutResult(digest=to_digest(algorithm, encoded), size=size, new=new)


def batch_item(options: PutOptions, source: Buffer | str) -> tuple[object, ...]:
    """Return the arguments of one source of a native batch."""
    return source, options.algorithm.value, _expected(options), options.size, dict(options.labels) or None


def find_expected(store: BlockingStore, options: PutOptions) -> PutResult | None:
    """Return the result for the blob that `options.expected` names, or None if no digest is given or the blob is not stored."""
    if options.expected is None:
        return None
    store.protect([options.expected])
    found = store.infos([options.expected]).get(options.expected)
    if found is None or options.size not in (None, found.size):
        return None
    return PutResult(digest=found.digest, size=found.size, new=False)


def open_ingest(store: BlockingStore, options: PutOptions, size: int | None) -> BlockingIngest | PutResult:
    """Start or resume the ingest `options.ref`; return the result instead if the expected blob is stored.

    Args:
        store: the store.
        options: the options of the put. They must have a ref.
        size: the size of the source, if it is known.
    """
    # The core also looks for the expected blob, but expects it to have the size of the source.
    if options.size is None and size is not None and (known := find_expected(store, options)) is not None:
        return known
    ref = options.ref
    assert ref is not None  # noqa: S101  # by the caller
    try:
        return store.ingest(IngestOptions.parse(ref, size=size, expected=options.expected, algorithm=options.algorithm))
    except AlreadyExists as stored:
        info = store.info(stored.digest)
        return PutResult(digest=info.digest, size=info.size, new=False)
    except Unavailable:
        # If the blob is stored, it does not matter whether another writer holds the ref.
        if (known := find_expected(store, options)) is not None:
            return known
        raise


def put_bytes(store: BlockingStore, options: PutOptions, octets: Buffer) -> PutResult:
    """Store bytes."""
    _check_size(options, len(memoryview(octets)))
    stored = store.native.put(
        octets,
        algorithm=options.algorithm.value,
        expected=_expected(options),
        labels=dict(options.labels) or None,
        lease=store.lease,
    )
    return to_result(stored)


def put_small_file(store: BlockingStore, options: PutOptions, path: str | bytes) -> PutResult | FileIO:
    """Store a file that fits in memory; return the open file if it does not, if it is a pipe or a device, or if the put is resumable."""
    file = FileIO(path, opener=at_once)
    try:
        if options.ref is None and _may_fit(file):
            # One byte more than the limit, to notice a file that is longer than its status says.
            data = file.read(MEMORY_LIMIT + 1)
            if len(data) <= MEMORY_LIMIT and not file.read(1):
                file.close()
                return put_bytes(store, options, data)
            file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _may_fit(file: FileIO) -> bool:
    found = os.fstat(file.fileno())
    return stat.S_ISREG(found.st_mode) and found.st_size <= MEMORY_LIMIT


def is_plain(file: FileIO) -> bool:
    """Return whether the file has a size and can be read at any offset."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


class FileProgress:
    """The progress of a thread that works on a file. The event loop reports it.

    Attributes:
        job: counts the bytes, and ends the call early when it is cancelled.
    """

    def __init__(self, options: PutOptions, name: str) -> None:
        self.job = _native.Job()
        self._options = options
        self._name = name
        self._phase: tuple[Literal["hash", "write"], int, int] | None = None
        self._reported = (-1, -1)

    def enter(self, phase: Literal["hash", "write"], total: int) -> None:
        """Start a phase; called by the thread."""
        self._phase = (phase, total, self.job.done)

    def report(self) -> None:
        """Report progress to the caller, if there was any since the last report."""
        if self._phase is None:
            return
        phase, total, before = self._phase
        reached = (before, self.job.done - before)
        if reached > self._reported and reached[1] > 0:
            self._reported = reached
            self._options.report(phase, self._name, min(reached[1], total), total)


def find_file(store: BlockingStore, options: PutOptions, file: FileIO, progress: FileProgress) -> PutResult | None:
    """Return the result for the stored blob that has the bytes of the file, or None if there is no such blob.

    The result is also None if there is an ingest `options.ref`: resuming it takes precedence.
    """
    size = os.fstat(file.fileno()).st_size
    if options.size not in (None, size) or not _may_be_stored(store, options, size):
        return None
    progress.enter("hash", size)
    found = store.native.find(file.fileno(), size, options.algorithm.value, progress.job, lease=store.lease)
    if found is None or options.expected not in (None, digest := to_digest(*found)):
        return None
    return PutResult(digest=digest, size=size, new=False)


def store_file(store: BlockingStore, options: PutOptions, file: FileIO, progress: FileProgress) -> PutResult | None:
    """Store a plain file and close it. A failed call leaves nothing. The result is None if the job was cancelled."""
    result = _store_file(store, options, file, progress)
    if result is not None:
        file.close()  # on this thread: the call releases the GIL, and the event loop might then wait to get it back
    return result


def _store_file(store: BlockingStore, options: PutOptions, file: FileIO, progress: FileProgress) -> PutResult | None:
    known = find_file(store, options, file, progress)
    if known is not None or progress.job.cancelled:
        return known
    size = os.fstat(file.fileno()).st_size
    _check_size(options, size)
    ingest = store.native.anonymous(algorithm=options.algorithm.value, lease=store.lease)
    try:
        progress.enter("write", size)
        copied = ingest.copy_from(file.fileno(), 0, None, progress.job, None)
        if progress.job.cancelled:
            return None
        try:
            algorithm, encoded, size, *_ = ingest.commit(options.size, _expected(options), dict(options.labels))
        except AlreadyExists as stored:
            return PutResult(digest=stored.digest, size=copied, new=False)
        return PutResult(digest=to_digest(algorithm, encoded), size=size, new=True)
    finally:
        ingest.close()


def _may_be_stored(store: BlockingStore, options: PutOptions, size: int) -> bool:
    """Return whether a blob of that size is stored and there is no ingest to resume."""
    if not store.native.has_size(size):
        return False
    try:
        return options.ref is None or store.native.status(options.ref) is None
    except NotFound:
        return True


def source_error(path: str, error: Exception) -> Exception:
    """Return the error that `open` would raise if the error concerns the source's file. Errors of the store are returned unchanged."""
    if isinstance(error, StorageError) and error.filename == path:
        return OSError(error.errno, error.strerror, error.filename)
    return error


def _check_size(options: PutOptions, actual: int) -> None:
    if options.size is not None and options.size != actual:
        raise UnexpectedSize(expected=options.size, actual=actual)


def _expected(options: PutOptions) -> str | None:
    return None if options.expected is None else str(options.expected)
