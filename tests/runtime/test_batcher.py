"""Calls that go together: who shares a batch, who hears of what, and how much goes at a time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from steelyard._native import Batcher
from steelyard._runtime.calls import run

pytestmark = pytest.mark.anyio


class Batches:
    """A function of batches that are let go one by one; it doubles numbers and refuses negative ones."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.at_once = 0
        self.most_at_once = 0

    def work(self, items: list[int]) -> list[Any]:
        self.seen.append(items)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.release()
        assert self.go.acquire(timeout=30)
        self.at_once -= 1
        return [ValueError(item) if item < 0 else item * 2 for item in items]

    def batcher(self, *, most: int = 100, most_bytes: int = 1000, at_once: int = 1) -> Batcher:
        return Batcher(self.work, most=most, most_bytes=most_bytes, at_once=at_once)

    async def begins(self) -> None:
        assert await run(self.begun.acquire, True, 30)

    def open(self) -> None:
        for _ in range(1000):
            self.go.release()


class Crowd:
    """Callers that begin in order, and what each was told."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.told: dict[int, object] = {}

    async def call(self, number: int, size: int = 1) -> None:
        try:
            self.told[number] = await run(self.batcher, number, size)
        except (ValueError, RuntimeError, TypeError) as error:
            self.told[number] = error

    async def come(self, tasks: anyio.abc.TaskGroup, *numbers: int, size: int = 1) -> None:
        """Let these wait, in that order; trio would shuffle those that begin at the same time."""
        for number in numbers:
            tasks.start_soon(self.call, number, size)
            await anyio.wait_all_tasks_blocked()


async def test_one_alone_goes_at_once() -> None:
    batches = Batches()
    batches.open()

    assert await run(batches.batcher(), 21, 1) == 42
    assert batches.seen == [[21]]


async def test_those_who_wait_go_together_in_their_order() -> None:
    batches = Batches()
    crowd = Crowd(batches.batcher())
    async with anyio.create_task_group() as tasks:
        await crowd.come(tasks, 1)
        await batches.begins()
        await crowd.come(tasks, 2, 3, 4)
        batches.open()

    assert batches.seen == [[1], [2, 3, 4]]
    assert crowd.told == {1: 2, 2: 4, 3: 6, 4: 8}


async def test_an_error_is_its_callers_alone() -> None:
    batches = Batches()
    crowd = Crowd(batches.batcher())
    async with anyio.create_task_group() as tasks:
        await crowd.come(tasks, 1)
        await batches.begins()
        await crowd.come(tasks, 2, -3, 4)
        batches.open()

    assert isinstance(crowd.told.pop(-3), ValueError)
    assert crowd.told == {1: 2, 2: 4, 4: 8}


@pytest.mark.parametrize(
    ("function", "kind"), [(lambda items: items[1:], RuntimeError), (lambda _: 7, TypeError), (sum, TypeError)]
)
async def test_a_batch_that_fails_fails_all_its_calls(function: Any, kind: type[Exception]) -> None:
    crowd = Crowd(Batcher(function, most=10, most_bytes=10, at_once=1))
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(crowd.call, number)

    assert [kind] * 5 == [type(told) for told in crowd.told.values()]


async def test_a_batch_is_bounded_by_number_and_by_bytes() -> None:
    batches = Batches()
    crowd = Crowd(batches.batcher(most=3, most_bytes=100))
    async with anyio.create_task_group() as tasks:
        await crowd.come(tasks, 1)
        await batches.begins()
        await crowd.come(tasks, 2, 3, 4, 5)
        await crowd.come(tasks, 6, 7, 8, size=60)
        batches.open()

    assert batches.seen == [[1], [2, 3, 4], [5, 6, 7], [8]]


async def test_no_more_batches_than_allowed_are_under_way() -> None:
    batches = Batches()
    crowd = Crowd(batches.batcher(most=2, at_once=2))
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(crowd.call, number)
        await batches.begins()
        await batches.begins()
        batches.open()

    assert batches.most_at_once == 2
    assert crowd.told == {number: number * 2 for number in range(20)}


async def test_a_caller_cancelled_before_it_waits_has_no_effect() -> None:
    batches = Batches()
    batcher = batches.batcher()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run(batcher, 1, 1)
    batches.open()
    await run(batcher, 2, 1)

    assert scope.cancelled_caught
    assert batches.seen == [[2]]


async def test_a_caller_cancelled_in_a_batch_gets_its_result_and_one_cancelled_in_line_had_no_effect() -> None:
    batches = Batches()
    crowd = Crowd(batches.batcher())
    async with anyio.create_task_group() as tasks:
        await crowd.come(tasks, 1)
        await batches.begins()
        await crowd.come(tasks, 2, 3)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(5):  # until all have heard of it
                await anyio.lowlevel.checkpoint()
        batches.open()

    assert crowd.told == {1: 2}
    assert batches.seen == [[1]]


def test_asyncio_raises_its_own_cancellation_in_one_caller_only() -> None:
    async def main() -> None:
        batches = Batches()
        batcher = batches.batcher()
        first, *waiting = (asyncio.create_task(run(batcher, number, 1)) for number in range(4))
        await asyncio.to_thread(batches.begun.acquire)
        waiting[1].cancel()
        batches.open()

        results = await asyncio.gather(first, *waiting, return_exceptions=True)

        assert results[:2] == [0, 2]
        assert isinstance(results[2], asyncio.CancelledError)
        assert results[3] == 6

    asyncio.run(main())


def test_loops_in_several_threads_share_batches_and_hear_their_own() -> None:
    batches = Batches()
    batches.open()
    batcher = batches.batcher(at_once=2)
    told: list[list[object]] = []

    def loop(backend: str, first: int) -> None:
        async def main() -> None:
            crowd = Crowd(batcher)
            async with anyio.create_task_group() as tasks:
                for number in range(first, first + 50):
                    tasks.start_soon(crowd.call, number)
            told.append([crowd.told[number] == number * 2 for number in range(first, first + 50)])

        anyio.run(main, backend=backend)

    threads = [
        threading.Thread(target=loop, args=("trio" if number % 2 else "asyncio", number * 50)) for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert told == [[True] * 50] * 4
    assert sorted(item for batch in batches.seen for item in batch) == list(range(200))


def test_called_directly_it_takes_one_item() -> None:
    batches = Batches()
    batches.open()

    assert batches.batcher()(4, 1) == 8
    with pytest.raises(ValueError, match="-4"):
        batches.batcher()(-4, 1)
