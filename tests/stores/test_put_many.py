"""Many puts at once: results as they finish, bounded, and no task left behind however the consumer goes away."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from support.stalls import runs_of_another_task

from steelyard._runtime.concurrent import map_unordered
from steelyard.errors import InvalidArgument, InvalidLabel
from steelyard.memory import MemoryStore
from steelyard.model import PutManyResult
from steelyard.transfer import put_many

pytestmark = pytest.mark.anyio


class Gate:
    """A source that gives its bytes once it is opened, and knows whether it is being read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.opened = anyio.Event()
        self.reading = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.reading = True
        try:
            await self.opened.wait()
            yield self.data
        finally:
            self.reading = False


def many(store: MemoryStore, sources: Any, **options: Any) -> Any:
    return put_many(store, sources, **options)


async def settled() -> None:
    await checkpoint()  # a cancellation is on its way through the event loop
    await anyio.wait_all_tasks_blocked()


async def test_every_source_has_exactly_one_result() -> None:
    store = MemoryStore()
    sources = [str(number % 90).encode() for number in range(100)]
    results = [result async for result in many(store, sources, labels={"a": "b"})]

    assert list(range(100)) == sorted(result.index for result in results)
    assert all(sources[result.index] is result.source for result in results)
    assert 90 == sum(result.result.new for result in results)
    assert 90 == len([info async for info in store.walk("labels.a==b")])


async def test_results_come_as_they_finish() -> None:
    gates = [Gate(b"a"), Gate(b"b"), Gate(b"c")]
    async with aclosing(many(MemoryStore(), gates)) as results:
        order = []
        for index in (1, 2, 0):
            gates[index].opened.set()
            order.append((await anext(results)).index)

    assert [1, 2, 0] == order


async def test_a_failed_source_yields_its_error_and_stops_no_other() -> None:
    results: list[PutManyResult] = [
        result async for result in many(MemoryStore(), [b"a", "/nowhere/at/all", 7, b"b"], errors="yield")
    ]
    by_index = sorted(results, key=lambda result: result.index)

    assert [None, FileNotFoundError, TypeError, None] == [
        None if result.error is None else type(result.error) for result in by_index
    ]
    assert [True, True] == [by_index[index].result.new for index in (0, 3)]
    with pytest.raises(FileNotFoundError):
        _ = by_index[1].result


async def test_the_errors_of_failed_sources_are_raised_once_at_the_end() -> None:
    results = many(MemoryStore(), ["/nowhere/at/all", b"a", 7, b"b"])
    assert [1, 3] == sorted([(await anext(results)).index for _ in range(2)])

    with pytest.raises(ExceptionGroup) as caught:
        await anext(results)
    assert "put_many: 2 of 4 sources failed (2 sub-exceptions)" == str(caught.value)
    errors = {type(error): error for error in caught.value.exceptions}
    assert ["put_many: source 0: /nowhere/at/all"] == errors[FileNotFoundError].__notes__
    assert ["put_many: source 2"] == errors[TypeError].__notes__
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_an_error_of_the_iterable_is_raised_together_with_those_of_the_sources() -> None:
    def sources() -> Iterator[Any]:
        yield 7
        yield b"a"
        raise KeyError("broken")

    results = many(MemoryStore(), sources())
    assert 1 == (await anext(results)).index
    with pytest.raises(ExceptionGroup, match="1 of 2 sources failed, and then the iterable of sources") as caught:
        await anext(results)
    assert [TypeError, KeyError] == [type(error) for error in caught.value.exceptions]


async def test_a_consumer_that_stops_early_gets_no_errors() -> None:
    async with aclosing(many(MemoryStore(), [7, b"a"], concurrency=1)) as results:
        assert 1 == (await anext(results)).index
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_an_error_thrown_into_the_iterator_ends_it_and_comes_back() -> None:
    results = many(MemoryStore(), [7, b"a", b"b"], concurrency=1)
    await anext(results)
    with pytest.raises(ZeroDivisionError):
        await results.athrow(ZeroDivisionError())
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_sources_are_read_only_as_fast_as_results_are_taken() -> None:
    taken: list[int] = []

    def sources() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield b"%d" % number

    async with aclosing(many(MemoryStore(), sources(), concurrency=3)) as results:
        assert [] == taken
        for count in range(1, 4):
            await anext(results)
            await settled()
            assert len(taken) <= count + 3


@pytest.mark.parametrize("kind", [Exception, KeyError])
async def test_an_error_of_the_sources_comes_after_the_results_of_what_was_begun(kind: type[Exception]) -> None:
    async def sources() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"
        raise kind("broken")

    results = many(MemoryStore(), sources())

    assert {0, 1} == {(await anext(results)).index for _ in range(2)}
    with pytest.raises(kind, match="broken"):
        await anext(results)


async def test_an_interrupt_in_the_sources_reaches_the_consumer() -> None:
    def sources() -> Iterator[bytes]:
        yield b"a"
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        async for _ in many(MemoryStore(), sources()):
            pass


async def test_closing_early_ends_the_work_before_the_next_line() -> None:
    store = MemoryStore()
    gates = [Gate(b"a"), Gate(b"b"), Gate(b"c")]
    gates[0].opened.set()
    async with aclosing(many(store, gates)) as results:
        await anext(results)
        assert [False, True, True] == [gate.reading for gate in gates]

    assert [False, False, False] == [gate.reading for gate in gates]
    assert [] == await store.list_statuses()


async def test_a_cancelled_consumer_ends_the_work() -> None:
    store = MemoryStore()
    gates = [Gate(b"a"), Gate(b"b")]
    with anyio.move_on_after(0.05) as scope:
        async for _ in many(store, gates):
            pass

    assert scope.cancelled_caught
    assert [False, False] == [gate.reading for gate in gates]
    assert [] == await store.list_statuses()


async def test_a_consumer_that_just_breaks_leaves_nothing_for_long() -> None:
    store = MemoryStore()
    gates = [Gate(b"a"), Gate(b"b"), Gate(b"c")]
    gates[0].opened.set()
    with anyio.CancelScope():
        async for _ in many(store, gates):
            break
    gc.collect()
    await settled()

    assert [False, False, False] == [gate.reading for gate in gates]
    assert [] == await store.list_statuses()


async def test_scopes_of_the_consumer_may_begin_and_end_between_results() -> None:
    results = many(MemoryStore(), [b"a", b"b", b"c"])
    with anyio.move_on_after(60):
        await anext(results)
    with anyio.move_on_after(60):
        await anext(results)
    await anext(results)

    with pytest.raises(StopAsyncIteration):
        await anext(results)
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_a_generator_of_sources_keeps_its_own_scopes() -> None:
    async def sources() -> AsyncIterator[bytes]:
        async with anyio.create_task_group():
            for number in range(20):
                yield b"%d" % number

    assert 20 == len([result async for result in many(MemoryStore(), sources(), concurrency=3)])
    async with aclosing(many(MemoryStore(), sources(), concurrency=3)) as results:
        await anext(results)


async def test_an_iterator_that_is_never_advanced_starts_nothing() -> None:
    async with aclosing(many(MemoryStore(), [b"a"])) as results:
        pass
    with pytest.raises(StopAsyncIteration):
        await anext(results)
    many(MemoryStore(), [b"a"])


async def test_arguments_are_checked_at_once() -> None:
    with pytest.raises(InvalidArgument):
        many(MemoryStore(), [], concurrency=0)
    with pytest.raises(InvalidLabel):
        many(MemoryStore(), [], labels={"": "x"})
    with pytest.raises(InvalidArgument, match="errors: expected 'raise' or 'yield', found 'ignore'"):
        many(MemoryStore(), [], errors="ignore")


async def test_results_that_came_together_let_other_tasks_run() -> None:
    """Not after each, which would cost more than the result, but before long."""
    seen: list[int] = []

    async def together(_: int, count: int, emit: Any) -> None:
        await emit(range(1, count + 1))

    async def collect() -> None:
        async with aclosing(map_unordered([1000], together, concurrency=1)) as results:
            seen.extend([result async for result in results])

    assert 20 <= await runs_of_another_task(collect()) <= 500
    assert seen == list(range(1, 1001))


async def test_a_consumer_cancelled_among_results_that_came_together_is_stopped() -> None:
    async def together(_: int, count: int, emit: Any) -> None:
        await emit(range(count))

    seen = []
    with anyio.CancelScope() as scope:
        async with aclosing(map_unordered([1000], together, concurrency=1)) as results:
            async for result in results:
                seen.append(result)
                scope.cancel()

    assert scope.cancelled_caught
    assert len(seen) < 100
