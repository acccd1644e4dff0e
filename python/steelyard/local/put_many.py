"""Many sources at once: the small ones in batches, one hop and one flush for each batch."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterable
from functools import partial
from typing import cast

import anyio
from anyio.lowlevel import checkpoint

from steelyard._runtime.buffers import view
from steelyard._runtime.calls import run
from steelyard._runtime.chunks import Batch
from steelyard._runtime.concurrent import Emit, Starter, emitted
from steelyard.local.blocking import BlockingStore
from steelyard.local.blocking._put import Stored, source_error, to_result
from steelyard.local.put import SHARED_LIMIT
from steelyard.model import Buffer, PutManyResult, Source, Sources
from steelyard.options import PutOptions, name_of, path_error
from steelyard.transfer._put_many import Put, put_one

__all__ = ("put_many",)

BATCH = 256
"""The most sources of a batch. Batches under way together share flushes, so larger ones would not be faster."""

BATCH_BYTES = 16 << 20
"""The most bytes in memory that one batch holds. The core reads the files of a batch later, one after the other."""

_AT_ONCE = 8
"""Batches, or single sources, in work at a time."""

_ASYNC_AT_ONCE = 32
"""Single sources of an async iterable in work at a time: they often wait for a network, not for this machine."""

_BATCHES_OF_LIMIT = 4
"""Batches at a time that a given concurrency is divided into: while some wait for the disk, others hash and write."""

Item = tuple[int, Source, bytes | memoryview | str]
"""A source's index, the source, and the argument of the native batch."""


def put_many(
    put: Put,
    store: BlockingStore,
    options: PutOptions,
    sources: Sources,
    concurrency: int | None,
) -> AsyncGenerator[PutManyResult, None]:
    """Store many sources; see `LocalStore.put_many`."""
    singles = _ASYNC_AT_ONCE if isinstance(sources, AsyncIterable) else _AT_ONCE

    async def work(emit: Emit[PutManyResult]) -> None:
        await _Puts(put, store, options, emit, concurrency=concurrency, singles=singles).run(sources)

    return emitted(work)


class _Puts(Starter[Source]):
    """The sources in work: those of batches, and single ones, which are large or of another kind.

    A batch starts when it is full. One that is not full starts when the sources keep the event loop waiting and no other
    such batch is under way; the sources that arrive until its hop has ended are the next one.
    """

    def __init__(
        self,
        put: Put,
        store: BlockingStore,
        options: PutOptions,
        emit: Emit[PutManyResult],
        *,
        concurrency: int | None,
        singles: int,
    ) -> None:
        self._put = put
        self._options = options
        self._emit = emit
        self._store = partial(
            store.native.put_batch,
            algorithm=options.algorithm.value,
            labels=dict(options.labels) or None,
            limit=SHARED_LIMIT,
            lease=store.lease,
        )
        size = BATCH if concurrency is None else max(1, min(BATCH, concurrency // _BATCHES_OF_LIMIT))
        self._batch: Batch[Item] = Batch(size, BATCH_BYTES)
        self._indexes = itertools.count()
        self._most = _AT_ONCE * BATCH if concurrency is None else concurrency
        self._most_singles = singles if concurrency is None else concurrency
        self._single = anyio.Semaphore(self._most_singles)
        # In work, until their results are taken:
        self._sources = self._bytes = self._singles = 0
        self._partial_under_way = False
        self._changed = anyio.Event()

    def start(self, source: Source) -> bool:
        index, native = next(self._indexes), _small(source)
        self._sources += 1
        if native is None:
            self._start_single(index, source)
        else:
            size = _bytes_of(native)
            self._bytes += size
            if self._batch.add((index, source, native), size):
                self.tasks.start_soon(self._store_batch, self._batch.take())
                return True  # to let its hop start
            if not self._partial_under_way:
                self._partial_under_way = True
                # The task takes what has arrived when it first runs: as soon as the sources keep the event loop waiting.
                self.tasks.start_soon(self._store_partial)
        return not self._has_room()

    async def room(self) -> None:
        await checkpoint()
        while not self._has_room():
            self._changed = anyio.Event()
            await self._changed.wait()

    def _has_room(self) -> bool:
        return (
            self._sources < self._most and self._bytes < _AT_ONCE * BATCH_BYTES and self._singles < self._most_singles
        )

    def _start_single(self, index: int, source: Source) -> None:
        self._singles += 1
        self.tasks.start_soon(self._store_single, index, source)

    async def _store_partial(self) -> None:
        while batch := self._batch.take():
            await self._store_batch(batch)
        self._partial_under_way = False

    async def _store_batch(self, batch: list[Item]) -> None:
        outcomes = await run(self._store, [native for _, _, native in batch])
        results, size = [], 0
        for item, outcome in zip(batch, outcomes, strict=True):
            index, source, native = item
            if outcome is None:
                self._start_single(index, source)
            else:
                results.append(_result(self._options, index, source, outcome))
            size += _bytes_of(native)
        # The next batch does not wait until the consumer has taken these.
        self.tasks.start_soon(self._give, results, size)

    async def _give(self, results: list[PutManyResult], size: int) -> None:
        await self._emit(results)
        self._sources -= len(results)
        self._bytes -= size
        self._changed.set()

    async def _store_single(self, index: int, source: Source) -> None:
        await self._single.acquire()
        await self._emit([await put_one(self._put, index, source)])
        self._single.release()  # not after a failure: another put would start before the failure cancels it
        self._singles -= 1
        self._sources -= 1
        self._changed.set()


def _result(options: PutOptions, index: int, source: Source, outcome: Stored | Exception) -> PutManyResult:
    if isinstance(outcome, Exception):
        return PutManyResult(index=index, source=source, outcome=_error(source, outcome))
    result = to_result(outcome)
    options.report("commit", name_of(source), result.size, result.size)
    return PutManyResult(index=index, source=source, outcome=result)


def _error(source: Source, error: Exception) -> Exception:
    if not isinstance(source, str | os.PathLike):
        return error
    return path_error(source, source_error(os.fspath(source), error))


def _bytes_of(native: bytes | memoryview | str) -> int:
    return 0 if isinstance(native, str) else len(native)


def _small(source: Source) -> bytes | memoryview | str | None:
    """Return the argument of the native batch for a small source, or None for any other."""
    if type(source) is bytes and len(source) <= SHARED_LIMIT:
        return source
    try:
        if isinstance(source, str | os.PathLike):
            path: object = os.fspath(source)
            return path if isinstance(path, str) else None
        octets = view(cast("Buffer", source))
    except Exception:  # noqa: BLE001  # as a single source, it fails alone
        return None
    return octets if octets.nbytes <= SHARED_LIMIT else None
