"""Stores many sources, small ones in batches, for stores in which a batch costs less than its sources one by one."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from typing import cast

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from steelyard._runtime.buffers import view
from steelyard._runtime.chunks import Batch
from steelyard._runtime.concurrent import Emit, Starter, emitted
from steelyard.model import Buffer, PutManyResult, PutResult, Source, Sources
from steelyard.transfer._put_many import Put, put_one

__all__ = ("Item", "put_batched")

BATCH = 256
"""The most sources in a batch. Batches that run at the same time share flushes, so larger batches would not be faster."""

BATCH_BYTES = 16 << 20
"""The most bytes in memory that one batch holds. The files of a batch are read later."""

_AT_ONCE = 8
"""Batches, or single sources, that are stored at a time."""

_ASYNC_AT_ONCE = 32
"""Single sources of an async iterable that are stored at a time: they often wait for a network, not for this machine."""

_BATCHES_OF_LIMIT = 4
"""The number of batches among which a given concurrency is divided: while some wait for the store, others hash and write."""


class Item(msgspec.Struct, frozen=True):
    """A source of a batch.

    Attributes:
        index: its place among all sources.
        source: the source.
        small: its bytes, or its path.
        size: the bytes in memory that it holds.
    """

    index: int
    source: Source
    small: bytes | memoryview | str
    size: int

    def result(self, outcome: PutResult | Exception) -> PutManyResult:
        """Return the result of the source."""
        return PutManyResult(index=self.index, source=self.source, outcome=outcome)


Sent = Callable[[], None]
"""Called when the rest of the work on a batch may overlap with later batches."""

StoreBatch = Callable[[list[Item], Sent], Awaitable[Sequence[PutManyResult | None]]]
"""Stores a batch. For each item it returns the result, or None if the item must be stored singly. It may call `Sent` once."""


def put_batched(
    put: Put, store: StoreBatch, sources: Sources, *, limit: int, concurrency: int | None
) -> AsyncGenerator[PutManyResult, None]:
    """Store many sources, in batches if they may be small; see `Store.put_many`.

    Args:
        put: stores a single source.
        store: stores a batch.
        sources: the sources.
        limit: the size in bytes up to which a source in memory goes in a batch. A path goes in a batch whatever the size of its file.
        concurrency: the most sources in progress at a time, or None for the default.
    """
    singles = _ASYNC_AT_ONCE if isinstance(sources, AsyncIterable) else _AT_ONCE

    async def work(emit: Emit[PutManyResult]) -> None:
        await _Puts(put, store, emit, limit=limit, concurrency=concurrency, singles=singles).run(sources)

    return emitted(work)


class _Puts(Starter[Source]):
    """The sources in progress: in batches, or singly if they are large or of another kind.

    A full batch starts at once. A partial batch starts when the event loop runs other tasks before the next source arrives, and no other
    partial batch is running. Sources that arrive while one is running form the next batch.
    """

    def __init__(
        self,
        put: Put,
        store: StoreBatch,
        emit: Emit[PutManyResult],
        *,
        limit: int,
        concurrency: int | None,
        singles: int,
    ) -> None:
        self._put = put
        self._store = store
        self._emit = emit
        self._limit = limit
        size = BATCH if concurrency is None else max(1, min(BATCH, concurrency // _BATCHES_OF_LIMIT))
        self._batch: Batch[Item] = Batch(size, BATCH_BYTES)
        self._indexes = itertools.count()
        self._most = _AT_ONCE * BATCH if concurrency is None else concurrency
        self._most_singles = singles if concurrency is None else concurrency
        self._single = anyio.Semaphore(self._most_singles)
        # In progress, until their results are taken:
        self._sources = self._bytes = self._singles = 0
        # Of these, the sources of batches that have called `Sent`, until their results arrive:
        self._sent = 0
        self._is_partial_running = False
        self._changed = anyio.Event()

    def start(self, source: Source) -> bool:
        index, small = next(self._indexes), _small(source, self._limit)
        self._sources += 1
        if small is None:
            self._start_single(index, source)
        else:
            item = Item(index, source, small, 0 if isinstance(small, str) else len(small))
            self._bytes += item.size
            if self._batch.add(item, item.size):
                self.tasks.start_soon(self._store_batch, self._batch.take())
                return True  # so that the task can start
            if not self._is_partial_running:
                self._is_partial_running = True
                # When the task first runs, it takes all sources that have arrived by then.
                self.tasks.start_soon(self._store_partial)
        return not self._has_room()

    async def room(self) -> None:
        await checkpoint()
        while not self._has_room():
            self._changed = anyio.Event()
            await self._changed.wait()

    def _has_room(self) -> bool:
        return (
            self._sources - self._sent < self._most
            and self._sources < 2 * self._most  # a bound for sent batches that take long
            and self._bytes < _AT_ONCE * BATCH_BYTES
            and self._singles < self._most_singles
        )

    def _start_single(self, index: int, source: Source) -> None:
        self._singles += 1
        self.tasks.start_soon(self._store_single, index, source)

    async def _store_partial(self) -> None:
        while batch := self._batch.take():
            await self._store_batch(batch)
        self._is_partial_running = False

    async def _store_batch(self, batch: list[Item]) -> None:
        results, size, sent = [], 0, 0

        def send() -> None:
            nonlocal sent
            self._sent += len(batch) - sent
            sent = len(batch)
            self._changed.set()

        stored = await self._store(batch, send)
        self._sent -= sent
        for item, result in zip(batch, stored, strict=True):
            if result is None:
                self._start_single(item.index, item.source)
            else:
                results.append(result)
            size += item.size
        # In a task of its own, so that the next batch does not wait until the consumer has taken these results.
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


def _small(source: Source, limit: int) -> bytes | memoryview | str | None:
    """Return the bytes or the path of a source for a batch, or None for a source that is stored singly."""
    if type(source) is bytes and len(source) <= limit:
        return source
    try:
        if isinstance(source, str | os.PathLike):
            path: object = os.fspath(source)
            return path if isinstance(path, str) else None
        octets = view(cast("Buffer", source))
    except Exception:  # noqa: BLE001  # as a single source, it fails alone
        return None
    return octets if octets.nbytes <= limit else None
