"""Writing the blobs of a source to the store: large blobs one by one through an ingest, small ones in batches."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

import msgspec
from anyio import CancelScope

from steelyard._runtime.calls import run
from steelyard.content import Source
from steelyard.digest import Digest
from steelyard.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArchive,
    SteelyardError,
    Unavailable,
    UnexpectedDigest,
    UnexpectedSize,
)
from steelyard.hashing import Hasher
from steelyard.images._pieces import READ_BYTES
from steelyard.images.importing._result import Ledger
from steelyard.images.leases import LeaseGuard
from steelyard.model import DEFAULT_ALGORITHM, FileRange, PutResult
from steelyard.transfer import open_writer

__all__ = (
    "BATCH",
    "BATCH_BYTES",
    "SINGLE_ABOVE",
    "ImportBlobWriter",
    "Item",
    "check_again",
    "hash_range",
    "read_ranges",
    "ref_of",
)

SINGLE_ABOVE = 1 << 20
"""A larger blob is written through an ingest of its own, which can be resumed. Other blobs are written in batches."""

BATCH = 256
"""The most blobs of a batch."""

BATCH_BYTES = 8 << 20
"""The approximate limit of the bytes of a batch."""


_HASHED_PER_CALL = 8 << 20
"""The number of bytes of a file that one call on a worker thread hashes."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """A blob of a source.

    Attributes:
        entry: its name in the source, for errors.
        size: its size in bytes.
        digest: its digest, or None if the source does not name it.
    """

    entry: str
    size: int
    digest: Digest | None = None


class ImportBlobWriter:
    """Stores the blobs of one import.

    Args:
        guard: the store.
        ledger: collects the results.
    """

    def __init__(self, guard: LeaseGuard, ledger: Ledger) -> None:
        self.store = guard.store
        self._guard = guard
        self.ledger = ledger

    async def find_present(self, items: Iterable[Item], *, settle: bool = True) -> set[Digest]:
        """Return the blobs that are stored with the expected size, and settle them."""
        sizes = {item.digest: item.size for item in items if item.digest is not None}
        found = await self._guard.find_stored(sizes)
        for digest in found if settle else ():
            self.ledger.settle(digest, sizes[digest], "present")
        return found

    async def write_single(
        self, item: Item, source: Source, *, ref: str | None = None, counts: bool = False
    ) -> PutResult:
        """Store one blob through an ingest, and settle it.

        An ingest that an earlier import left is resumed. If its bytes are wrong, they are dropped, and the blob is
        stored from its start, unless the source can be read only once.

        Args:
            item: the blob.
            source: its bytes.
            ref: the ref of the ingest; by default that of the item's digest. Without a digest and a ref, a failure leaves nothing.
            counts: whether its bytes count in the progress of the whole import.

        Raises:
            InvalidArchive: the bytes do not match the digest or the size; they are dropped.
            FailedPrecondition: the ingest has other bytes, which are dropped, and the source can be read only once.
        """
        digest = item.digest
        if ref is None and digest is not None:
            ref = ref_of(digest)
        started = time.monotonic()
        report = self.ledger.follow(str(digest or item.entry), item.size, counts=counts)
        try:
            # CANCEL: with a ref the ingest keeps its bytes for the next import; without one nothing remains.
            while True:
                try:
                    result = await self.store.put(source, size=item.size, expected=digest, ref=ref, on_progress=report)
                    break
                except Unavailable:
                    if ref is None:
                        raise
                    await self._wait(ref, item)
        except (UnexpectedDigest, UnexpectedSize) as error:
            if ref is not None:
                # The bytes are wrong, so the next import must not resume after them.
                with CancelScope(shield=True), suppress(SteelyardError):
                    await self.store.abort(ref)
            if isinstance(error, UnexpectedDigest) and error.expected != digest:
                raise FailedPrecondition(
                    f"entry {item.entry!r}: an earlier import left other bytes, which were dropped now: import again"
                ) from None
            raise _refusal(item.entry, str(error.expected), str(error.actual)) from None
        self._stored(result, started)
        return result

    async def _wait(self, ref: str, item: Item) -> None:
        """Wait until the ref is free: another import of the same blob may hold it."""
        wait = partial(self.ledger.wait, str(item.digest or item.entry), item.size)
        with suppress(AlreadyExists):
            async with open_writer(self.store, ref, size=item.size, expected=item.digest, on_wait=wait):
                pass

    async def write_batch(self, items: Sequence[tuple[Item, bytes]]) -> list[PutResult]:
        """Store a batch of blobs in memory, and settle them; return the results in the same order.

        Raises:
            InvalidArchive: a blob does not match its digest. Its bytes may be stored, under their own digest.
        """
        started = time.monotonic()
        algorithms = [DEFAULT_ALGORITHM if item.digest is None else item.digest.algorithm for item, _ in items]
        data = [data for _, data in items]
        results = await self._guard.put_batch(list(zip(algorithms, data, strict=True)))
        for (item, _), result in zip(items, results, strict=True):
            if item.digest not in (None, result.digest):
                raise _refusal(item.entry, str(item.digest), str(result.digest))
            self._stored(result, started)
        return results

    def _stored(self, result: PutResult, started: float) -> None:
        if result.new:
            self.ledger.settle(result.digest, result.size, "new", time.monotonic() - started)
        else:
            self.ledger.settle(result.digest, result.size, "present")


def ref_of(digest: Digest) -> str:
    """Return the ref of the ingest for a large blob."""
    return f"import-{digest}"


def check_again(entry: str, expected: Digest | str | int, found: Digest | str | int) -> None:
    """Refuse a repeated entry that differs from the first one.

    Raises:
        InvalidArchive: the entries differ.
    """
    if expected != found:
        raise InvalidArchive(entry, expected=f"{expected}, as in the first entry of that name", actual=str(found))


def _refusal(entry: str, expected: str, found: str) -> InvalidArchive:
    unit = " bytes" if expected.isdecimal() else ""
    return InvalidArchive(entry, expected=expected + unit, actual=found + unit)


async def hash_range(source: FileRange, hasher: Hasher) -> Digest:
    """Return the digest of a part of a file, with a hop to a thread for every 8 MiB."""
    offset, end = source.offset, source.offset + source.size
    while offset < end:
        step = min(end - offset, _HASHED_PER_CALL)
        await run(_hash, source.file, offset, step, hasher)
        offset += step
    return hasher.digest()


def _hash(file: int, offset: int, size: int, hasher: Hasher) -> None:
    end = offset + size
    while offset < end and (data := os.pread(file, min(end - offset, READ_BYTES), offset)):
        hasher.update(data)
        offset += len(data)


async def read_ranges(ranges: Sequence[FileRange]) -> list[bytes]:
    """Return the bytes of several parts of files, with one hop to a thread."""
    return await run(_read, ranges)


def _read(ranges: Sequence[FileRange]) -> list[bytes]:
    return [os.pread(each.file, each.size, each.offset) for each in ranges]
