"""Storing many sources: small sources go in batches, with one hop and one flush for each batch."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from functools import partial

from steelyard._runtime.calls import run
from steelyard.local.blocking import BlockingStore
from steelyard.local.blocking._put import Stored, source_error, to_result
from steelyard.local.put import SHARED_LIMIT
from steelyard.model import PutManyResult, Source, Sources
from steelyard.options import PutOptions, name_of, path_error
from steelyard.transfer._batched import Item, Sent, put_batched
from steelyard.transfer._put_many import Put

__all__ = ("put_many",)


def put_many(
    put: Put,
    store: BlockingStore,
    options: PutOptions,
    sources: Sources,
    concurrency: int | None,
) -> AsyncGenerator[PutManyResult, None]:
    """Store many sources; see `LocalStore.put_many`."""
    put_batch = partial(
        store.native.put_batch,
        algorithm=options.algorithm.value,
        labels=dict(options.labels) or None,
        limit=SHARED_LIMIT,
        lease=store.lease,
    )

    async def store_batch(batch: list[Item], _sent: Sent) -> list[PutManyResult | None]:
        outcomes = await run(put_batch, [item.small for item in batch])
        return [
            None if outcome is None else _result(options, item, outcome)
            for item, outcome in zip(batch, outcomes, strict=True)
        ]

    return put_batched(put, store_batch, sources, limit=SHARED_LIMIT, concurrency=concurrency)


def _result(options: PutOptions, item: Item, outcome: Stored | Exception) -> PutManyResult:
    if isinstance(outcome, Exception):
        return item.result(_error(item.source, outcome))
    result = to_result(outcome)
    options.report("commit", name_of(item.source), result.size, result.size)
    return item.result(result)


def _error(source: Source, error: Exception) -> Exception:
    if not isinstance(source, str | os.PathLike):
        return error
    return path_error(source, source_error(os.fspath(source), error))
