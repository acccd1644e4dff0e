"""`put_many` of a `LocalStore`: which sources share a hop, and how many are in work."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from steelyard import LocalStore, PutManyResult, PutResult
from steelyard._runtime import calls
from steelyard.errors import NotFound
from steelyard.local import put_many
from steelyard.model import Source
from steelyard.options import PutOptions
from steelyard.transfer import _batched

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    async with LocalStore(tmp_path / "store", durability="process-crash") as store:
        yield store


class Hops:
    """Takes the place of the pool: a hop ends when the test says so, and runs in the event loop."""

    def __init__(self) -> None:
        self.sources: list[list[bytes]] = []
        self._ends: list[anyio.Event] = []

    async def run(self, function: Callable[[list[bytes]], Any], sources: list[bytes]) -> Any:
        self.sources.append(sources)
        end = anyio.Event()
        self._ends.append(end)
        await end.wait()
        return function(sources)

    async def end(self, number: int) -> None:
        """End a hop, and let everything happen that follows."""
        self._ends[number].set()
        await anyio.wait_all_tasks_blocked()


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> Hops:
    hops = Hops()
    monkeypatch.setattr(put_many, "run", hops.run)
    return hops


class Consumer:
    """A task that takes all results."""

    def __init__(self, results: Any) -> None:
        self._results = results
        self.indexes: list[int] = []
        self.errors: list[BaseException] = []

    async def run(self) -> None:
        try:
            async with aclosing(self._results) as results:
                async for result in results:
                    assert result.error is None
                    self.indexes.append(result.index)
        except Exception as error:  # noqa: BLE001  # a test looks at it
            self.errors.append(error)


async def never_suspending(sources: list[Any]) -> AsyncIterator[Any]:
    for source in sources:
        yield source


def small(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("iterable", [list, never_suspending])
async def test_sources_that_are_there_at_once_go_in_full_batches(store: LocalStore, iterable: Any) -> None:
    """Twelve hops for three thousand sources, whatever kind of iterable they come from."""
    blobs = [os.urandom(2000) for _ in range(3000)]
    before = calls.counts()["hops"]
    async with aclosing(store.put_many(iterable(blobs))) as results:
        new = [result.result.new async for result in results]

    assert calls.counts()["hops"] - before <= 12
    assert new == [True] * 3000


async def test_sources_that_arrive_during_a_hop_are_the_next_one(store: LocalStore, hops: Hops) -> None:
    send, receive = anyio.create_memory_object_stream[bytes](100)
    blobs = small(12)
    consumer = Consumer(store.put_many(receive))
    async with receive, send, anyio.create_task_group() as tasks:
        tasks.start_soon(consumer.run)
        await send.send(blobs[0])
        await anyio.wait_all_tasks_blocked()
        assert hops.sources == [blobs[:1]]  # it does not wait for company

        for blob in blobs[1:10]:
            await send.send(blob)
            await checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert len(hops.sources) == 1
        assert consumer.indexes == []

        await hops.end(0)
        assert hops.sources[1:] == [blobs[1:10]]
        assert consumer.indexes == [0]

        await hops.end(1)
        assert consumer.indexes == list(range(10))
        assert len(hops.sources) == 2

        await send.send(blobs[10])
        await anyio.wait_all_tasks_blocked()
        await send.send(blobs[11])
        send.close()
        await anyio.wait_all_tasks_blocked()
        assert hops.sources[2:] == [blobs[10:11]]
        await hops.end(2)
        await hops.end(3)

    assert hops.sources[3:] == [blobs[11:12]]
    assert consumer.indexes == list(range(12))


async def test_the_next_hop_does_not_wait_until_the_last_results_are_taken(store: LocalStore, hops: Hops) -> None:
    send, receive = anyio.create_memory_object_stream[bytes](10)
    blobs = small(3)
    async with receive, send, aclosing(store.put_many(receive)) as results, anyio.create_task_group() as tasks:
        taken: list[PutManyResult] = []

        async def take_one() -> None:
            taken.append(await anext(results))

        tasks.start_soon(take_one)
        await send.send(blobs[0])
        await anyio.wait_all_tasks_blocked()
        await send.send(blobs[1])
        await anyio.wait_all_tasks_blocked()
        await hops.end(0)
        await send.send(blobs[2])
        await anyio.wait_all_tasks_blocked()
        await hops.end(1)

        assert [result.index for result in taken] == [0]
        assert hops.sources == [blobs[:1], blobs[1:2], blobs[2:]]
        await hops.end(2)


async def test_full_batches_are_under_way_side_by_side_and_are_bounded(store: LocalStore, hops: Hops) -> None:
    pulled: list[int] = []

    async def sources() -> AsyncIterator[bytes]:
        for number in range(5000):
            pulled.append(number)
            yield b"%d" % number

    consumer = Consumer(store.put_many(sources()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consumer.run)
        await anyio.wait_all_tasks_blocked()

        assert [len(batch) for batch in hops.sources] == [_batched.BATCH] * 8
        assert len(pulled) == 8 * _batched.BATCH
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("iterable", [list, never_suspending])
async def test_bytes_in_memory_are_bounded(store: LocalStore, hops: Hops, iterable: Any) -> None:
    """A batch is full by its bytes, too, and all that are in work have at most eight times as many."""
    consumer = Consumer(store.put_many(iterable([bytes(MIB)] * 400)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consumer.run)
        await anyio.wait_all_tasks_blocked()

        assert [len(batch) for batch in hops.sources] == [_batched.BATCH_BYTES // MIB] * 8
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("concurrency", [1, 7, 40])
@pytest.mark.parametrize("iterable", [iter, never_suspending])
async def test_no_more_sources_are_in_work_than_the_caller_allows(
    store: LocalStore, concurrency: int, iterable: Any
) -> None:
    taken, most = 0, 0

    def sources() -> Iterator[Source]:
        nonlocal most
        for number in range(60):
            most = max(most, number + 1 - taken)
            yield [b"%d" % number] if number % 5 == 0 else b"%d" % number

    async with aclosing(store.put_many(iterable(sources()), concurrency=concurrency)) as results:
        async for _ in results:
            taken += 1

    assert taken == 60
    assert most <= concurrency


async def test_a_slow_source_has_each_item_stored_before_it_gives_the_next(store: LocalStore) -> None:
    stored = anyio.Event()

    async def sources() -> AsyncIterator[bytes]:
        nonlocal stored
        for number in range(20):
            stored = anyio.Event()
            yield b"%d" % number
            with anyio.fail_after(30):
                await stored.wait()

    indexes = []
    async with aclosing(store.put_many(sources())) as results:
        async for result in results:
            indexes.append(result.index)
            stored.set()

    assert indexes == list(range(20))


@pytest.mark.parametrize("count", [0, 1, 300])
async def test_what_came_before_an_error_of_the_sources_is_stored(store: LocalStore, count: int) -> None:
    async def sources() -> AsyncIterator[bytes]:
        for blob in small(count):
            yield blob
        raise NotFound("the next one", kind="source")

    consumer = Consumer(store.put_many(sources()))
    await consumer.run()

    assert sorted(consumer.indexes) == list(range(count))
    assert [type(error) for error in consumer.errors] == [NotFound]


async def test_a_generator_of_sources_is_closed_in_the_task_that_advances_it(store: LocalStore, hops: Hops) -> None:
    closed = []

    async def sources() -> AsyncIterator[bytes]:
        try:
            async with anyio.create_task_group():
                for blob in small(10):
                    yield blob
                    await checkpoint()
        finally:
            closed.append(True)

    async with aclosing(store.put_many(sources())) as results, anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(_cancel_when_blocked, scope)
            await anext(results)
        assert closed == [True]
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    assert len(hops.sources) == 1


async def _cancel_when_blocked(scope: anyio.CancelScope) -> None:
    await anyio.wait_all_tasks_blocked()
    scope.cancel()


async def test_an_async_iterable_may_give_sources_of_every_kind(store: LocalStore, tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            await checkpoint()
            yield b"piece"

    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(bytes(3 * MIB))
    released = memoryview(b"released")
    released.release()
    with (tmp_path / "small").open("rb") as file:
        kinds = [b"a", bytes(2 * MIB), pieces(), tmp_path / "small", str(tmp_path / "large"), file, [b"x", b"y"]]
        wrong = [released, 7, tmp_path / "absent"]
        async with aclosing(store.put_many(never_suspending([*kinds, *wrong]), errors="yield")) as results:
            found = {result.index: result async for result in results}

    sizes = [found[index].result.size for index in range(len(kinds))]
    assert sizes == [1, 2 * MIB, 15, 5, 3 * MIB, 5, 2]
    errors = [type(found[len(kinds) + index].error) for index in range(len(wrong))]
    assert errors == [ValueError, TypeError, FileNotFoundError]


async def test_large_files_of_one_batch_are_stored_side_by_side(store: LocalStore, tmp_path: Path) -> None:
    """Each waits for all others."""
    paths = [tmp_path / f"{number}" for number in range(8)]
    for path in paths:
        path.write_bytes(bytes(2 * MIB))
    under_way, all_there = 0, anyio.Event()

    async def put(source: Source) -> PutResult:
        nonlocal under_way
        under_way += 1
        if under_way == len(paths):
            all_there.set()
        with anyio.fail_after(30):
            await all_there.wait()
        return await store.put(source)

    options = PutOptions.parse(algorithm=None, labels=None, on_progress=None)
    results = put_many.put_many(put, store.direct(), options, paths, None)

    assert sorted([result.index async for result in results]) == list(range(8))
