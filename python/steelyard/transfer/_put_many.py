"""`Store.put_many` on the interfaces alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping

from steelyard._runtime.concurrent import Emit, unordered
from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.model import Labels, OnProgress, PutManyResult, Source

__all__ = ("put_many",)

_AT_ONCE = 8


def put_many(
    store: Store,
    sources: Iterable[Source] | AsyncIterable[Source],
    *,
    concurrency: int | None = None,
    algorithm: Algorithm | None = None,
    labels: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
) -> AsyncGenerator[PutManyResult, None]:
    """Store many sources at once and yield each result as it finishes; see `Store.put_many`.

    Work begins when the first result is asked for. A source counts as in work until its result is taken. When `sources`
    itself raises, what was begun still finishes and yields, then the error is raised. An async generator of sources is
    closed together with the iterator.

    The iterator ends its work when it is exhausted, closed, or cancelled while it waits for a result. One that is simply
    dropped, by a ``break`` without `contextlib.aclosing`, ends its work soon after, not before the next line. Either way
    a source in work is abandoned as by a cancelled `put`: nothing of it remains, and no lock is held.

    Raises:
        InvalidArgument: `concurrency` is less than 1.
        InvalidLabel: at once, not for each source.
    """
    kept = Labels(labels)

    async def put(index: int, source: Source, emit: Emit[PutManyResult]) -> None:
        try:
            result = await store.put(source, algorithm=algorithm, labels=kept, on_progress=on_progress)
        except Exception as error:  # noqa: BLE001  # the result is where it is told
            await emit(PutManyResult(index=index, source=source, error=error))
        else:
            await emit(PutManyResult(index=index, source=source, result=result))

    return unordered(sources, put, concurrency=_AT_ONCE if concurrency is None else concurrency)
