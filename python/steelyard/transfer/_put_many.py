"""`Store.put_many`, built on the interfaces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from steelyard._runtime.concurrent import Emit, map_unordered
from steelyard.content import Store
from steelyard.content._many import Errors, of_sources
from steelyard.model import PutManyResult, PutResult, Source, Sources
from steelyard.options import PutOptions
from steelyard.transfer._put import signature_of

__all__ = ("put_each", "put_many", "put_one")

_AT_ONCE = 8

Put = Callable[[Source], Awaitable[PutResult]]


@signature_of(Store.put_many)
def put_many(
    store: Store, sources: Sources, *, concurrency: int | None = None, errors: Errors = "raise", **arguments: Any
) -> AsyncGenerator[PutManyResult, None]:
    """Store many sources at once and yield each result as it finishes; the arguments are those of `Store.put_many`.

    Work starts with the request for the first result. A source counts as in progress until its result is taken. If `sources`
    itself raises, the sources in progress still finish and their results are yielded, then the error is raised. An async generator of
    sources is closed together with the iterator.

    The iterator ends its work when it is exhausted, closed, or cancelled while it waits for a result. An iterator that is
    dropped, by a ``break`` without `contextlib.aclosing`, ends its work soon afterwards, perhaps only after the next line has run. In each
    case, a source in progress is abandoned as by a cancelled `put`: nothing of it remains, and no lock is held.
    """
    options = PutOptions.parse(**arguments)

    async def put(source: Source) -> PutResult:
        return await store.put(
            source, algorithm=options.algorithm, labels=options.labels, on_progress=options.on_progress
        )

    return of_sources(put_each(put, sources, concurrency), errors)


def put_each(put: Put, sources: Sources, concurrency: int | None) -> AsyncGenerator[PutManyResult, None]:
    """Call `put` with each source, at most `concurrency` at a time; see `put_many`."""

    async def one(index: int, source: Source, emit: Emit[PutManyResult]) -> None:
        await emit([await put_one(put, index, source)])

    return map_unordered(sources, one, concurrency=_AT_ONCE if concurrency is None else concurrency)


async def put_one(put: Put, index: int, source: Source) -> PutManyResult:
    """Call `put` with a source, and return its result or its error."""
    try:
        return PutManyResult(index=index, source=source, outcome=await put(source))
    except Exception as error:  # noqa: BLE001  # the result carries it
        return PutManyResult(index=index, source=source, outcome=error)
