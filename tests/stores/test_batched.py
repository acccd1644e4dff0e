"""Sources in batches: how many are in work, of a store whose batches have a part that overlaps with the next ones."""

from __future__ import annotations

import hashlib

import anyio
import pytest

from steelyard.digest import Digest
from steelyard.model import PutManyResult, PutResult, Source
from steelyard.transfer._batched import Item, Sent, put_batched

pytestmark = pytest.mark.anyio

EMPTY = Digest.parse(f"sha256:{hashlib.sha256().hexdigest()}")
CONCURRENCY = 16
SOURCES = [b"%d" % number for number in range(200)]


class Batches:
    """A store whose batches end, and are sent, when the test says so."""

    def __init__(self, *, sends: bool) -> None:
        self.started: list[list[Item]] = []
        self.end = anyio.Event()
        self._sends = sends

    async def put(self, source: Source) -> PutResult:
        raise AssertionError(f"{source!r} belongs in a batch")

    async def store(self, batch: list[Item], sent: Sent) -> list[PutManyResult | None]:
        self.started.append(batch)
        if self._sends:
            sent()
            sent()  # as after a second look
        await self.end.wait()
        return [item.result(PutResult(digest=EMPTY, size=1, new=True)) for item in batch]

    @property
    def in_work(self) -> int:
        return sum(map(len, self.started))


@pytest.mark.parametrize(("sends", "most"), [(False, CONCURRENCY), (True, 2 * CONCURRENCY)])
async def test_what_is_sent_lets_as_much_begin_again(sends: bool, most: int) -> None:
    batches = Batches(sends=sends)
    found = []

    async def consume() -> None:
        results = put_batched(batches.put, batches.store, SOURCES, limit=100, concurrency=CONCURRENCY)
        found.extend([result.index async for result in results])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        await anyio.wait_all_tasks_blocked()
        assert batches.in_work == most
        batches.end.set()

    assert sorted(found) == list(range(len(SOURCES)))


async def test_results_that_are_not_taken_hold_up_what_is_sent() -> None:
    batches = Batches(sends=True)
    batches.end.set()
    results = put_batched(batches.put, batches.store, SOURCES, limit=100, concurrency=CONCURRENCY)

    first = await anext(results)
    await anyio.wait_all_tasks_blocked()

    assert batches.in_work <= 2 * CONCURRENCY
    assert {first.index, *[result.index async for result in results]} == set(range(len(SOURCES)))
