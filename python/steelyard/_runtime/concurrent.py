"""One function for many items, several calls at a time. Results come in the order of the items, or as soon as they are ready."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import anyio
from anyio import CancelScope, abc, get_cancelled_exc_class
from anyio.lowlevel import checkpoint

from steelyard._runtime.backend import interruptible
from steelyard._runtime.background import Background
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.iteration import Iteration, next_item
from steelyard._runtime.scopes import task_group
from steelyard.errors import InvalidArgument

__all__ = (
    "Emit",
    "Starter",
    "call_each",
    "check_concurrency",
    "emitted",
    "map_batches",
    "map_concurrently",
    "map_unordered",
)

_INLINE_RESULTS = 32
"""The most results of a batch that are given before other tasks run: a step of the event loop costs more than a result."""

ItemT = TypeVar("ItemT")
ResultT_contra = TypeVar("ResultT_contra", contravariant=True)
ResultT = TypeVar("ResultT")


class Emit(Protocol[ResultT_contra]):
    """Gives results to the consumer, and returns when the consumer has taken them."""

    async def __call__(self, results: Iterable[ResultT_contra], /) -> None: ...


async def map_concurrently(
    items: Iterable[ItemT] | AsyncIterable[ItemT],
    function: Callable[[ItemT], Awaitable[ResultT]],
    *,
    concurrency: int,
) -> list[ResultT]:
    """Call `function` with each item, at most `concurrency` at a time, and return the results in the order of the items.

    The first failure cancels the other calls, and is raised by itself. When `items` itself raises, the calls under way
    finish first.

    Raises:
        InvalidArgument: `concurrency` is less than 1.

    Cancellation:
        Cancels all calls under way, and waits for their end.
    """
    check_concurrency(concurrency)
    results: list[Any] = []

    async def call(index: int, item: ItemT) -> None:
        result = await function(item)
        results.extend([None] * (index + 1 - len(results)))
        results[index] = result

    await _OneByOne(call, concurrency).run(items)
    return results


def map_unordered(
    items: Iterable[ItemT] | AsyncIterable[ItemT],
    function: Callable[[int, ItemT, Emit[ResultT]], Awaitable[None]],
    *,
    concurrency: int,
) -> AsyncGenerator[ResultT, None]:
    """Call `function` with each item and its place as `map_concurrently` does, and yield each result when the function emits it.

    Work begins when the first result is asked for. An item counts as in work until its last result is taken, so memory is
    bounded by `concurrency`. When `items` itself raises, the calls under way finish and yield, then the error is raised.
    An async generator of items is closed together with the iterator. The iterator is that of `emitted`.

    Raises:
        InvalidArgument: `concurrency` is less than 1.
    """
    check_concurrency(concurrency)

    async def work(emit: Emit[ResultT]) -> None:
        async def call(index: int, item: ItemT) -> None:
            await function(index, item, emit)

        await call_each(items, call, concurrency=concurrency)

    return emitted(work)


async def call_each(
    items: Iterable[ItemT] | AsyncIterable[ItemT],
    function: Callable[[int, ItemT], Awaitable[None]],
    *,
    concurrency: int,
) -> None:
    """Call `function` with the place of each item and the item, at most `concurrency` at a time; see `map_concurrently`."""
    await _OneByOne(function, concurrency).run(items)


def map_batches(
    items: Iterable[ItemT] | AsyncIterable[ItemT],
    function: Callable[[list[tuple[int, ItemT]]], Awaitable[Iterable[ResultT]]],
    *,
    most: int,
) -> AsyncGenerator[ResultT, None]:
    """Call `function` with batches of at most `most` items and their places, one after the other, and yield all results in order.

    A batch begins when it is full, or as soon as the items keep the event loop waiting: no item waits for a batch to fill. The next batch
    fills while one is in work, and at most two more wait for the consumer. Otherwise it is as `map_unordered`.
    """

    async def work(emit: Emit[ResultT]) -> None:
        await _Batches(function, emit, most).run(items)

    return emitted(work)


def emitted(work: Callable[[Emit[ResultT]], Awaitable[None]]) -> AsyncGenerator[ResultT, None]:
    """Yield each result when `work` emits it. The work begins when the first result is asked for.

    The iterator ends its work when it is exhausted, closed, or cancelled while it waits for a result. An iterator that is only
    dropped, by a ``break`` without `contextlib.aclosing`, ends its work soon afterwards, but perhaps not before the next line.
    """
    return _Results(_Work(work))


def check_concurrency(concurrency: int | None) -> None:
    """Refuse a concurrency below 1; None leaves the number to the function that is called.

    Raises:
        InvalidArgument: `concurrency` is less than 1.
    """
    if concurrency is not None and concurrency < 1:
        raise InvalidArgument(f"concurrency: expected at least 1, found {concurrency}")


class Starter(ABC, Generic[ItemT]):
    """Starts tasks for the items of an iterable.

    Attributes:
        tasks: the group of these tasks, while `run` runs.
    """

    tasks: abc.TaskGroup

    @abstractmethod
    def start(self, item: ItemT) -> bool:
        """Start the work on an item; return whether to wait for room before the next item."""

    @abstractmethod
    async def room(self) -> None:
        """Wait until the next item may be started."""

    async def run(self, items: Iterable[ItemT] | AsyncIterable[ItemT]) -> None:
        """Start all items, and wait for the tasks.

        The first failure of a task cancels the others, and is raised by itself. When `items` itself raises, the tasks
        finish first.
        """
        failure: Exception | None = None
        async with task_group() as self.tasks:
            try:
                await self._advance(items)
            except Exception as error:  # noqa: BLE001  # raised when the tasks have finished
                failure = error
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback refers to this frame

    async def _advance(self, items: Iterable[ItemT] | AsyncIterable[ItemT]) -> None:
        """Take the items, always in this task: a generator may keep its own scopes open between two items."""
        await self.room()
        if not isinstance(items, AsyncIterable):
            for item in _each(items):
                if self.start(item):
                    await self.room()
            return
        source = aiter(items)
        try:
            while True:
                try:
                    item = await next_item(source)
                except StopAsyncIteration:
                    break
                if self.start(item):
                    await self.room()
        finally:
            if isinstance(source, AsyncGenerator):
                with CancelScope(shield=True):
                    await source.aclose()


class _OneByOne(Starter[ItemT]):
    """A call for each item and its place, at most `concurrency` at a time."""

    def __init__(self, call: Callable[[int, ItemT], Awaitable[None]], concurrency: int) -> None:
        self._call = call
        self._indexes = itertools.count()
        self._free = anyio.Semaphore(concurrency)

    def start(self, item: ItemT) -> bool:
        self.tasks.start_soon(self._one, next(self._indexes), item)
        return True

    async def room(self) -> None:
        await self._free.acquire()

    async def _one(self, index: int, item: ItemT) -> None:
        await self._call(index, item)
        self._free.release()  # not after a failure: another call could start before the failure cancels the tasks


class _Batches(Starter[ItemT], Generic[ItemT, ResultT]):
    """A call for each batch of items and their places, one call after the other."""

    def __init__(
        self,
        function: Callable[[list[tuple[int, ItemT]]], Awaitable[Iterable[ResultT]]],
        emit: Emit[ResultT],
        most: int,
    ) -> None:
        self._function = function
        self._emit = emit
        self._most = most
        self._indexes = itertools.count()
        self._batch: list[tuple[int, ItemT]] = []
        self._is_working = False
        self._changed = anyio.Event()
        self._free = anyio.Semaphore(1)

    def start(self, item: ItemT) -> bool:
        self._batch.append((next(self._indexes), item))
        if not self._is_working:
            self._is_working = True
            # The task takes what has arrived when it first runs: as soon as the items keep the event loop waiting.
            self.tasks.start_soon(self._work)
        return len(self._batch) >= self._most

    async def room(self) -> None:
        await checkpoint()
        while len(self._batch) >= self._most:
            self._changed = anyio.Event()
            await self._changed.wait()

    async def _work(self) -> None:
        while self._batch:
            batch, self._batch = self._batch, []
            self._changed.set()
            results = await self._function(batch)
            await self._free.acquire()
            # The next batch does not wait until the consumer has taken these results.
            self.tasks.start_soon(self._give, results)
        self._is_working = False

    async def _give(self, results: Iterable[ResultT]) -> None:
        await self._emit(results)
        self._free.release()


class _Work(Generic[ResultT]):
    """The work. It holds no reference to the consumer's object, so that Python collects a dropped object."""

    def __init__(self, work: Callable[[Emit[ResultT]], Awaitable[None]]) -> None:
        self._work = work
        self._finished: deque[tuple[deque[ResultT], anyio.Event]] = deque()
        self._since = _INLINE_RESULTS
        self._changed = anyio.Event()
        self._ended = False
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Work to the end."""
        try:
            await self._work(self._emit)
        except get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001  # raised in the consumer, not in the event loop
            self._error = error
        finally:
            self._ended = True
            self._changed.set()

    async def _emit(self, results: Iterable[ResultT], /) -> None:
        if some := deque(results):
            taken = anyio.Event()
            self._finished.append((some, taken))
            self._changed.set()
            await taken.wait()

    def ready(self) -> ResultT | None:
        """Return the next result if it came together with others and other tasks may wait a little longer; else None."""
        if self._since >= _INLINE_RESULTS or not self._finished:
            return None
        self._since += 1
        return self._pop()

    async def take(self) -> ResultT | None:
        """Wait for the next result; None at the end."""
        await checkpoint()
        while not self._finished:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._changed = anyio.Event()
            await self._changed.wait()
        self._since = 0
        return self._pop()

    def _pop(self) -> ResultT:
        results, taken = self._finished[0]
        result = results.popleft()
        if not results:
            self._finished.popleft()
            self._since = _INLINE_RESULTS
            taken.set()
        return result


@interruptible
def _each(items: Iterable[ItemT]) -> Iterator[ItemT]:
    yield from items


class _Results(ProcessBound, Iteration[ResultT]):
    """The consumer's side."""

    # On the class, because `__del__` is called even of an object whose `__init__` was interrupted.
    _background: Background | None = None
    _closed = False

    def __init__(self, work: _Work[ResultT]) -> None:
        self._work = work

    async def __anext__(self) -> ResultT:
        """Return the next result."""
        result = None if self._closed else self._work.ready()
        return await self.asend(None) if result is None else result

    async def asend(self, value: None) -> ResultT:
        """Wait for the next result."""
        del value
        if self._closed:
            raise StopAsyncIteration
        if self._background is None:
            self._background = Background(self._work.run)
        try:
            result = await self._work.take()
        except BaseException:
            # CANCEL: running calls are cancelled, and there are no further results, as with an async generator.
            await self.aclose()
            raise
        if result is None:
            await self.aclose()
            raise StopAsyncIteration
        return result

    async def aclose(self) -> None:
        """Stop: cancel the running calls and wait until they have ended. It may be called twice."""
        self._closed = True
        if self._background is not None:
            await self._background.aclose()

    def __del__(self) -> None:
        # A child of a fork has the parent's task, whose event loop must not be woken from here.
        if self._background is not None and not self._closed and self._process.is_current:
            self._background.cancel_soon()
