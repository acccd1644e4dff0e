"""One function over many items: results in order, bounded, and the first failure by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from steelyard._runtime.chunks import Batch, slices
from steelyard._runtime.concurrent import map_concurrently
from steelyard._runtime.scopes import task_group
from steelyard.errors import InvalidArgument, NotFound

pytestmark = pytest.mark.anyio


async def test_results_come_in_the_order_of_the_items_whatever_ends_first() -> None:
    ended: list[int] = []
    events = [anyio.Event() for _ in range(4)]
    events[-1].set()

    async def call(index: int) -> str:
        await events[index].wait()
        ended.append(index)
        if index:
            events[index - 1].set()
        return str(index)

    assert await map_concurrently(range(4), call, concurrency=4) == ["0", "1", "2", "3"]
    assert ended == [3, 2, 1, 0]


async def test_as_many_calls_are_under_way_as_allowed_and_no_more() -> None:
    under_way: list[int] = []
    go = anyio.Event()

    async def call(index: int) -> None:
        under_way.append(index)
        await go.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: map_concurrently(range(50), call, concurrency=7))
        await anyio.wait_all_tasks_blocked()
        assert sorted(under_way) == [*range(7)]
        go.set()

    assert sorted(under_way) == [*range(50)]


async def test_the_first_failure_cancels_the_rest_and_is_no_exception_group() -> None:
    cancelled: list[int] = []

    async def call(index: int) -> None:
        if index == 2:
            raise NotFound("2")
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(index)

    with pytest.raises(NotFound):
        await map_concurrently(range(10), call, concurrency=3)
    assert sorted(cancelled) == [0, 1]


async def test_a_task_group_raises_its_first_failure_by_itself_with_its_cause() -> None:
    cause = OSError("cause")

    async def fail() -> None:
        raise NotFound("1") from cause

    async def failing() -> None:
        async with task_group() as tasks:
            tasks.start_soon(fail)
            await anyio.sleep_forever()

    with pytest.raises(NotFound) as caught:
        await failing()
    assert caught.value.__cause__ is cause

    with pytest.raises(ExceptionGroup, match="of the body"):  # what the body raises comes out as it is
        async with task_group():
            raise ExceptionGroup("of the body", [NotFound("2")])


async def test_items_that_fail_let_calls_under_way_finish() -> None:
    done: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise NotFound("3")

    async def call(item: int) -> None:
        for _ in range(5):
            await checkpoint()
        done.append(item)

    with pytest.raises(NotFound):
        await map_concurrently(items(), call, concurrency=5)
    assert sorted(done) == [1, 2]


async def test_a_generator_of_items_is_closed_when_a_call_fails() -> None:
    closed: list[bool] = []

    async def items() -> AsyncIterator[int]:
        try:
            with anyio.CancelScope():  # a scope that is open between two items must be left in its own task
                while True:
                    yield 1
                    await checkpoint()
        finally:
            closed.append(True)

    async def call(_: int) -> None:
        raise NotFound("1")

    with pytest.raises(NotFound):
        await map_concurrently(items(), call, concurrency=2)
    assert closed == [True]


@pytest.mark.parametrize("concurrency", [0, -1])
async def test_fewer_calls_than_one_are_refused(concurrency: int) -> None:
    with pytest.raises(InvalidArgument, match="concurrency"):
        await map_concurrently([1], checkpoint_of, concurrency=concurrency)


async def checkpoint_of(_: int) -> None:
    await checkpoint()


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 30])
def test_slices_are_the_whole_and_none_is_too_long_or_empty(size: int) -> None:
    data = bytes(range(size))
    found = [bytes(part) for part in slices(memoryview(data), 10)]

    assert b"".join(found) == data
    assert all(0 < len(part) <= 10 for part in found)


def test_a_batch_is_full_by_number_or_by_bytes_and_empty_when_taken() -> None:
    batch: Batch[str] = Batch(3, 100)

    assert [batch.add(item, 1) for item in "abc"] == [False, False, True]
    assert batch.take() == ["a", "b", "c"]
    assert batch.take() == []
    assert [batch.add("d", 60), batch.add("e", 60)] == [False, True]
    assert batch.take() == ["d", "e"]
