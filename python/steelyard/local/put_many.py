"""Many sources at once: the small ones in batches, one trip and one flush for each batch."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec

from steelyard import _native, transfer
from steelyard._runtime.buffers import view
from steelyard._runtime.calls import run
from steelyard._runtime.concurrent import Emit, unordered
from steelyard.digest import Algorithm
from steelyard.errors import InvalidArgument
from steelyard.local._rows import to_digest
from steelyard.local.small import SMALL, Stored, source_error
from steelyard.model import Buffer, Labels, OnProgress, Progress, PutManyResult, PutResult, Source
from steelyard.transfer._source import name_of

if TYPE_CHECKING:
    from steelyard.local.store import LocalStore

__all__ = ("Wanted", "put_many")

BATCH = 256
"""The most sources of a batch. Batches under way together share flushes, so larger ones would not be faster."""

BATCH_BYTES = 16 << 20
"""The most bytes in memory that one batch holds; files are read later, by the core, as it goes."""

_AT_ONCE = 8
"""Batches, or sources that go alone, in work at a time."""

_ALONE = 32
"""Sources in work at a time where none of them waits for a batch to fill."""

Item = tuple[int, Source, bytes | memoryview | str | None]
"""A source's place, the source, and what a batch takes of it: None if it goes alone."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What all the sources have in common; see `Store.put_many`."""

    algorithm: Algorithm
    labels: Labels
    on_progress: OnProgress | None


def put_many(
    store: LocalStore,
    core: _native.Store,
    wanted: Wanted,
    sources: Iterable[Source] | AsyncIterable[Source],
    *,
    concurrency: int | None,
) -> AsyncGenerator[PutManyResult, None]:
    """Store many sources; see `LocalStore.put_many`."""
    if concurrency is not None and concurrency < 1:
        raise InvalidArgument(f"concurrency: expected at least 1, found {concurrency}")
    if isinstance(sources, AsyncIterable) or concurrency == 1:
        # They come when they come, and nobody waits for a batch to fill. Those under way together share flushes anyway.
        return transfer.put_many(
            store,
            sources,
            concurrency=_ALONE if concurrency is None else concurrency,
            algorithm=wanted.algorithm,
            labels=wanted.labels,
            on_progress=wanted.on_progress,
        )
    at_once = _AT_ONCE if concurrency is None else min(_AT_ONCE, concurrency)
    size = BATCH if concurrency is None else min(BATCH, concurrency // at_once)
    return unordered(_batches(sources, size), partial(_store_batch, store, core, wanted), concurrency=at_once)


def _batches(sources: Iterable[Source], most: int) -> Iterator[list[Item]]:
    """Cut the sources into batches, bounded by number and by bytes in memory; what is no small source goes alone."""
    batch: list[Item] = []
    held = 0
    failure: Exception | None = None
    try:
        for index, source in enumerate(sources):
            native = _small(source)
            if native is None:
                yield [(index, source, None)]
                continue
            batch.append((index, source, native))
            held += 0 if isinstance(native, str) else len(native)
            if len(batch) >= most or held >= BATCH_BYTES:
                yield batch
                batch, held = [], 0
    except Exception as error:  # noqa: BLE001  # raised below, after what came before it
        failure = error
    if batch:
        yield batch
    if failure is not None:
        raise failure


async def _store_batch(
    store: LocalStore, core: _native.Store, wanted: Wanted, _number: int, batch: list[Item], emit: Emit[PutManyResult]
) -> None:
    alone = batch
    natives = [native for _, _, native in batch if native is not None]
    if natives:
        call = partial(
            core.put_batch, algorithm=wanted.algorithm.value, labels=dict(wanted.labels) or None, limit=SMALL
        )
        outcomes = await run(call, natives)
        alone = [item for item, outcome in zip(batch, outcomes, strict=True) if outcome is None]
        pairs = zip(batch, outcomes, strict=True)
        await emit(*(_result(wanted, item, outcome) for item, outcome in pairs if outcome is not None))
    for index, source, _ in alone:
        try:
            put = store.put(source, algorithm=wanted.algorithm, labels=wanted.labels, on_progress=wanted.on_progress)
            result = PutManyResult(index=index, source=source, result=await put)
        except Exception as error:  # noqa: BLE001  # the result is where it is told
            result = PutManyResult(index=index, source=source, error=error)
        await emit(result)


def _result(wanted: Wanted, item: Item, outcome: Stored | Exception) -> PutManyResult:
    index, source, _ = item
    if isinstance(outcome, Exception):
        return PutManyResult(index=index, source=source, error=_error(source, outcome))
    algorithm, encoded, size, new = outcome
    if wanted.on_progress is not None:
        wanted.on_progress(Progress(phase="commit", name=name_of(source), done=size, total=size))
    result = PutResult(digest=to_digest(algorithm, encoded), size=size, new=new)
    return PutManyResult(index=index, source=source, result=result)


def _error(source: Source, error: Exception) -> Exception:
    return source_error(os.fspath(source), error) if isinstance(source, str | os.PathLike) else error


def _small(source: Source) -> bytes | memoryview | str | None:
    """Return what a batch takes in place of the source, or None if it has to go alone."""
    if type(source) is bytes and len(source) <= SMALL:
        return source
    if isinstance(source, str | os.PathLike):
        path: object = os.fspath(source)
        return path if isinstance(path, str) else None
    octets = _octets(source)
    return octets if octets is not None and octets.nbytes <= SMALL else None


def _octets(source: Source) -> memoryview | None:
    try:
        return view(cast("Buffer", source))
    except (TypeError, BufferError):
        return None
