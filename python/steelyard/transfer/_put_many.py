"""`Store.put_many` on the interfaces alone: workers that put, a consumer that takes results as they finish."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import anyio
from anyio import CancelScope, get_cancelled_exc_class
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from steelyard._background import Background
from steelyard._types import OnProgress, Source
from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.errors import InvalidArgument
from steelyard.model import Labels, PutManyResult, PutResult

__all__ = ("put_many",)


def put_many(
    store: Store,
    sources: Iterable[Source] | AsyncIterable[Source],
    *,
    concurrency: int = 8,
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
    if concurrency < 1:
        raise InvalidArgument(f"concurrency: expected at least 1, found {concurrency}")
    kept = Labels(labels)

    async def put(source: Source) -> PutResult:
        return await store.put(source, algorithm=algorithm, labels=kept, on_progress=on_progress)

    return _PutMany(_Work(sources, put, concurrency))


class _Work:
    """The workers' side: it knows nothing of the consumer's object, so that it is noticed when that is dropped."""

    def __init__(
        self,
        sources: Iterable[Source] | AsyncIterable[Source],
        put: Callable[[Source], Awaitable[PutResult]],
        concurrency: int,
    ) -> None:
        self._put = put
        self._sources = sources
        self._places = anyio.Semaphore(concurrency)
        self._finished: deque[tuple[PutManyResult, anyio.Event]] = deque()
        self._changed = anyio.Event()
        self._ended = False
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Work until the sources end."""
        sources = aiter(self._sources if isinstance(self._sources, AsyncIterable) else _each(self._sources))
        try:
            async with anyio.create_task_group() as workers:
                # One task alone advances the sources: a generator may have scopes of its own open between two of them.
                try:
                    await self._feed(sources, workers)
                finally:
                    if isinstance(sources, AsyncGenerator):
                        with CancelScope(shield=True):
                            await sources.aclose()
        except get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001  # it belongs to the consumer, not to the event loop
            self._error = error
        finally:
            self._ended = True
            self._changed.set()

    async def _feed(self, sources: AsyncIterator[Source], workers: TaskGroup) -> None:
        for index in itertools.count():
            await self._places.acquire()
            try:
                source = await anext(sources)
            except StopAsyncIteration:
                return
            except Exception as error:  # noqa: BLE001  # told when the sources in work have finished
                self._error = error
                return
            workers.start_soon(self._work, index, source)

    async def _work(self, index: int, source: Source) -> None:
        try:
            result = PutManyResult(index=index, source=source, result=await self._put(source))
        except Exception as error:  # noqa: BLE001  # the result is where it is told
            result = PutManyResult(index=index, source=source, error=error)
        taken = anyio.Event()
        self._finished.append((result, taken))
        self._changed.set()
        await taken.wait()
        self._places.release()

    async def take(self) -> PutManyResult | None:
        """Wait for the next result; None at the end."""
        await checkpoint()
        while not self._finished:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._changed = anyio.Event()
            await self._changed.wait()
        result, taken = self._finished.popleft()
        taken.set()
        return result


async def _each(sources: Iterable[Source]) -> AsyncIterator[Source]:
    for source in sources:
        yield source


class _PutMany(AsyncGenerator[PutManyResult, None]):
    """The consumer's side. A generator by its methods, so that `contextlib.aclosing` and type checkers know `aclose`."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._background: Background | None = None
        self._closed = False

    async def asend(self, value: None) -> PutManyResult:
        """Return the next result; what `anext` calls."""
        del value
        if self._closed:
            raise StopAsyncIteration
        if self._background is None:
            self._background = Background(self._work.run)
        try:
            result = await self._work.take()
        except BaseException:
            # CANCEL: nobody may come back for the rest, as with an async generator; the puts under way are undone.
            await self.aclose()
            raise
        if result is None:
            await self.aclose()
            raise StopAsyncIteration
        return result

    async def aclose(self) -> None:
        """Stop: cancel the sources in work and wait until nothing of them remains. It may be called twice."""
        self._closed = True
        if self._background is not None:
            await self._background.aclose()

    async def athrow(self, *error: Any) -> PutManyResult:
        """Stop, and raise the error in the consumer."""
        await self.aclose()
        raise error[-1] if isinstance(error[-1], BaseException) else error[0]

    def __del__(self) -> None:
        if self._background is not None and not self._closed:
            self._background.cancel_soon()
