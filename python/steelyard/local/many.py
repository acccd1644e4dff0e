"""Calls for many blobs: one hop for each batch, and one transaction for each batch that changes something."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, TypeVar

from anyio.lowlevel import checkpoint

from steelyard._runtime.calls import run
from steelyard._runtime.chunks import slices
from steelyard._runtime.concurrent import map_batches
from steelyard.digest import Digest
from steelyard.errors import InvalidDigest, SteelyardError
from steelyard.local.blocking import BlockingStore
from steelyard.model import Blobs, DeleteManyResult, Info, UpdateManyResult
from steelyard.options import LabelChange, digest_of_blob

__all__ = ("delete_many", "infos", "sizes", "update_many")

BATCH = 512
"""The most blobs of one hop. While a batch is changed, for a few milliseconds, no other blob of the store can be published or changed."""

ResultT = TypeVar("ResultT")


async def infos(store: BlockingStore, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
    """Return the `Info` of each stored digest; see `LocalStore.infos`."""
    return await _looked_up(store.infos, digests)


async def sizes(store: BlockingStore, digests: Iterable[Digest | str]) -> dict[Digest, int]:
    """Return the size of each stored digest; see `LocalStore.sizes`."""
    return await _looked_up(store.sizes, digests)


async def _looked_up(
    look_up: Callable[[Iterable[Digest]], dict[Digest, ResultT]], digests: Iterable[Digest | str]
) -> dict[Digest, ResultT]:
    names = [Digest.parse(digest) for digest in digests]
    found: dict[Digest, ResultT] = {}
    for some in slices(names, BATCH):
        found.update(await run(look_up, some))
    if not names:
        await checkpoint()
    return found


def update_many(
    store: BlockingStore, blobs: Blobs, change: LabelChange, concurrency: int | None
) -> AsyncGenerator[UpdateManyResult, None]:
    """Change the labels of many blobs; see `Store.update_many`."""

    def update(digests: Sequence[Digest]) -> Sequence[Info | Exception]:
        return store.update_many(digests, change.labels, change.keys)

    def result(index: int, blob: Any, outcome: Any) -> UpdateManyResult:
        return UpdateManyResult(index=index, blob=blob, outcome=outcome)

    return _in_batches(blobs, update, result, concurrency)


def delete_many(store: BlockingStore, blobs: Blobs, concurrency: int | None) -> AsyncGenerator[DeleteManyResult, None]:
    """Delete many blobs; see `Store.delete_many`."""

    def result(index: int, blob: Any, outcome: Any) -> DeleteManyResult:
        return DeleteManyResult(index=index, blob=blob, error=outcome)

    return _in_batches(blobs, store.delete_many, result, concurrency)


def _in_batches(
    blobs: Blobs,
    change: Callable[[Sequence[Digest]], Sequence[Info | Exception | None]],
    result: Callable[[int, Any, Any], ResultT],
    concurrency: int | None,
) -> AsyncGenerator[ResultT, None]:
    """Call `change` with the digests of each batch on a thread, and yield the results."""

    def results(batch: list[tuple[int, Any]]) -> list[ResultT]:
        outcomes = _outcomes(change, [blob for _, blob in batch])
        return [result(index, blob, outcome) for (index, blob), outcome in zip(batch, outcomes, strict=True)]

    async def hop(batch: list[tuple[int, Any]]) -> list[ResultT]:
        return await run(results, batch)

    return map_batches(blobs, hop, most=BATCH if concurrency is None else min(BATCH, concurrency))


def _outcomes(
    change: Callable[[Sequence[Digest]], Sequence[Info | Exception | None]], blobs: Sequence[Info | Digest | str]
) -> list[Info | Exception | None]:
    """Return the outcome of each blob. An invalid digest fails only its own blob."""
    invalid: dict[int, Exception] = {}
    digests = []
    for place, blob in enumerate(blobs):
        try:
            digests.append(digest_of_blob(blob))
        except InvalidDigest as error:
            invalid[place] = error
    try:
        outcomes: Sequence[Info | Exception | None] = change(digests)
    except SteelyardError as error:
        outcomes = [error] * len(digests)
    if not invalid:
        return list(outcomes)
    rest = iter(outcomes)
    return [invalid[place] if place in invalid else next(rest) for place in range(len(blobs))]
