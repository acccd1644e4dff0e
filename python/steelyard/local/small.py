"""Small sources into a `LocalStore`: those that wait at the same time share a trip to a thread, and its flush."""

from __future__ import annotations

import os
from functools import partial

from steelyard import _native
from steelyard._runtime.calls import run
from steelyard.errors import StorageError
from steelyard.model import Buffer
from steelyard.options import PutOptions

__all__ = ("SMALL", "Stored", "gather", "put_small", "put_small_file", "source_error")

SMALL = 1 << 20
"""A source of up to this many bytes shares the trip with others."""

_TOGETHER = 128
"""The most sources of a trip: while it is under way others gather, and the event loop works too."""

_TOGETHER_BYTES = 16 << 20
"""About the most bytes of a trip."""

_TRIPS = max(2, (os.cpu_count() or 2) // 2)
"""Shared trips at a time: while one waits for the disk, another hashes and writes."""

_GUESS = 64 << 10
"""What a file counts for in a trip, before anybody has looked."""

Stored = tuple[str, str, int, bool]
"""A blob's algorithm, encoded hash and size, and whether it is new."""


def gather(core: _native.Store) -> _native.Gather:
    """Return what small puts wait in: those that come while a trip is under way share the next."""
    each = partial(core.put_each, limit=SMALL)
    return _native.Gather(each, most=_TOGETHER, most_bytes=_TOGETHER_BYTES, at_once=_TRIPS)


async def put_small(puts: _native.Gather, options: PutOptions, octets: memoryview) -> Stored:
    """Store bytes; `puts` is the store's `gather`."""
    stored: Stored = await run(puts, _item(options, octets), octets.nbytes)
    return stored


async def put_small_file(puts: _native.Gather, options: PutOptions, path: str) -> Stored | None:
    """Store a file; None if it is not small, or no regular file, and nothing was done."""
    try:
        stored: Stored | None = await run(puts, _item(options, path), _GUESS)
    except StorageError as error:
        raise source_error(path, error) from None
    return stored


def source_error(path: str, error: Exception) -> Exception:
    """Say of a source's own file what `open` would have said; the store's errors are of the store."""
    if isinstance(error, StorageError) and error.filename == path:
        return OSError(error.errno, error.strerror, error.filename)
    return error


def _item(options: PutOptions, source: Buffer | str) -> tuple[object, ...]:
    expected = None if options.expected is None else str(options.expected)
    return source, options.algorithm.value, expected, options.size, dict(options.labels) or None
