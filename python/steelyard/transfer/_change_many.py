"""`Store.update_many` and `Store.delete_many`, built on the interfaces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.concurrent import Emit, map_unordered
from steelyard.content import Manager
from steelyard.digest import Digest
from steelyard.model import Blobs, DeleteManyResult, Info, UpdateManyResult
from steelyard.options import LabelChange, digest_of_blob

__all__ = ("delete_each", "update_each")

_AT_ONCE = 32

_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""A placeholder: `Manager.update` ignores the times of the info."""

ResultT = TypeVar("ResultT")


def update_each(
    store: Manager, blobs: Blobs, change: LabelChange, concurrency: int | None
) -> AsyncGenerator[UpdateManyResult, None]:
    """Call `Manager.update` for each blob, at most `concurrency` at a time; see `Store.update_many`."""

    @uninterrupted  # a call with `*fieldpaths` would leave its coroutine unawaited
    async def update(digest: Digest) -> Info:
        wanted = Info(digest=digest, size=0, created_at=_ANY_TIME, updated_at=_ANY_TIME, labels=change.labels)
        return await store.update(wanted, *change.fieldpaths)

    async def one(index: int, blob: Any) -> UpdateManyResult:
        try:
            return UpdateManyResult(index=index, blob=blob, outcome=await update(digest_of_blob(blob)))
        except Exception as error:  # noqa: BLE001  # the result carries it
            return UpdateManyResult(index=index, blob=blob, outcome=error)

    return _each(one, blobs, concurrency)


def delete_each(store: Manager, blobs: Blobs, concurrency: int | None) -> AsyncGenerator[DeleteManyResult, None]:
    """Call `Manager.delete` for each blob, at most `concurrency` at a time; see `Store.delete_many`."""

    async def one(index: int, blob: Any) -> DeleteManyResult:
        try:
            await store.delete(digest_of_blob(blob))
        except Exception as error:  # noqa: BLE001  # the result carries it
            return DeleteManyResult(index=index, blob=blob, error=error)
        return DeleteManyResult(index=index, blob=blob)

    return _each(one, blobs, concurrency)


def _each(
    change: Callable[[int, Any], Awaitable[ResultT]], blobs: Blobs, concurrency: int | None
) -> AsyncGenerator[ResultT, None]:
    async def one(index: int, blob: Any, emit: Emit[ResultT]) -> None:
        await emit([await change(index, blob)])

    return map_unordered(blobs, one, concurrency=_AT_ONCE if concurrency is None else concurrency)
