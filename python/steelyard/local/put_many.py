"""Many sources at once: the small ones in batches, one hop and one flush for each batch."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from functools import partial
from typing import cast

from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.buffers import view
from steelyard._runtime.calls import run
from steelyard._runtime.chunks import Batch
from steelyard._runtime.concurrent import Emit, map_unordered
from steelyard.local.blocking import BlockingStore
from steelyard.local.blocking._put import Stored, source_error, to_result
from steelyard.local.put import SHARED_LIMIT
from steelyard.model import Buffer, PutManyResult, Source, Sources
from steelyard.options import PutOptions
from steelyard.transfer._put_many import Put, put_each, put_one
from steelyard.transfer._source import name_of

__all__ = ("put_many",)

BATCH = 256
"""The most sources of a batch. Batches under way together share flushes, so larger ones would not be faster."""

BATCH_BYTES = 16 << 20
"""The most bytes in memory that one batch holds. The core reads the files of a batch later, one after the other."""

_AT_ONCE = 8
"""Batches, or single sources, in work at a time."""

_SINGLE_AT_ONCE = 32
"""Sources in work at a time where none of them waits for a batch to fill."""

Item = tuple[int, Source, bytes | memoryview | str | None]
"""A source's index, the source, and the argument of the native batch; None for a single source."""


def put_many(
    put: Put,
    store: BlockingStore,
    options: PutOptions,
    sources: Sources,
    concurrency: int | None,
) -> AsyncGenerator[PutManyResult, None]:
    """Store many sources; see `LocalStore.put_many`."""
    if isinstance(sources, AsyncIterable) or concurrency == 1:
        # Sources may arrive slowly, and none waits for a batch to fill. Those in work at a time share flushes anyway.
        return put_each(put, sources, _SINGLE_AT_ONCE if concurrency is None else concurrency)
    at_once = _AT_ONCE if concurrency is None else min(_AT_ONCE, concurrency)
    size = BATCH if concurrency is None else min(BATCH, concurrency // at_once)

    async def work(_number: int, batch: list[Item], emit: Emit[PutManyResult]) -> None:
        await _store_batch(put, store, options, batch, emit)

    return map_unordered(_batches(sources, size), work, concurrency=at_once)


def _batches(sources: Iterable[Source], most: int) -> Iterator[list[Item]]:
    """Divide the sources into batches, bounded by number and by bytes in memory; a large source is a batch of one."""
    batch: Batch[Item] = Batch(most, BATCH_BYTES)
    failure: Exception | None = None
    try:
        for index, source in enumerate(sources):
            native = _small(source)
            if native is None:
                yield [(index, source, None)]
                continue
            if batch.add((index, source, native), 0 if isinstance(native, str) else len(native)):
                yield batch.take()
    except Exception as error:  # noqa: BLE001  # raised below, after what came before it
        failure = error
    if rest := batch.take():
        yield rest
    if failure is not None:
        raise failure


async def _store_batch(
    put: Put, store: BlockingStore, options: PutOptions, batch: list[Item], emit: Emit[PutManyResult]
) -> None:
    single = batch
    natives = [native for _, _, native in batch if native is not None]
    if natives:
        call = partial(
            store.native.put_batch,
            algorithm=options.algorithm.value,
            labels=dict(options.labels) or None,
            limit=SHARED_LIMIT,
        )
        outcomes = await run(call, natives)
        single = [item for item, outcome in zip(batch, outcomes, strict=True) if outcome is None]
        pairs = zip(batch, outcomes, strict=True)
        await _emit(emit, [_result(options, item, outcome) for item, outcome in pairs if outcome is not None])
    for index, source, _ in single:
        await emit(await put_one(put, index, source))


@uninterrupted  # a call with `*args` would leave its coroutine unawaited
async def _emit(emit: Emit[PutManyResult], results: list[PutManyResult]) -> None:
    await emit(*results)


def _result(options: PutOptions, item: Item, outcome: Stored | Exception) -> PutManyResult:
    index, source, _ = item
    if isinstance(outcome, Exception):
        return PutManyResult(index=index, source=source, outcome=_error(source, outcome))
    result = to_result(outcome)
    options.report("commit", name_of(source), result.size, result.size)
    return PutManyResult(index=index, source=source, outcome=result)


def _error(source: Source, error: Exception) -> Exception:
    return source_error(os.fspath(source), error) if isinstance(source, str | os.PathLike) else error


def _small(source: Source) -> bytes | memoryview | str | None:
    """Return the argument of the native batch for a small source, or None for any other."""
    if type(source) is bytes and len(source) <= SHARED_LIMIT:
        return source
    if isinstance(source, str | os.PathLike):
        path: object = os.fspath(source)
        return path if isinstance(path, str) else None
    octets = _octets(source)
    return octets if octets is not None and octets.nbytes <= SHARED_LIMIT else None


def _octets(source: Source) -> memoryview | None:
    try:
        return view(cast("Buffer", source))
    except (TypeError, BufferError):
        return None
