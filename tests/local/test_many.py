"""`update_many` and `delete_many` of a `LocalStore`: batches, hops, bounded memory, and an event loop that goes on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from support.stalls import watched

from steelyard import Digest, FailedPrecondition, LocalStore, StorageError
from steelyard._runtime import calls

pytestmark = pytest.mark.anyio

BATCH = 512
SHARE = 0.04
"""The most of the processor time of the process that the loop's thread may take in one go; see `test_loop_stall.py`."""
ATTEMPTS = 10


async def filled(store: LocalStore, count: int) -> list[Digest]:
    """Store so many blobs."""
    async with aclosing(store.put_many(b"%d" % number for number in range(count))) as results:
        return [one.result.digest async for one in results]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    async with LocalStore(tmp_path / "store", durability="process-crash") as store:
        yield store


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_change_of_many_takes_a_hop_for_each_batch(store: LocalStore, *, is_async: bool) -> None:
    digests = await filled(store, 3 * BATCH)

    async def late() -> AsyncIterator[Digest]:
        for digest in digests:
            yield digest

    for results in (
        store.update_many(late() if is_async else digests, {"a": "1"}),
        store.delete_many(late() if is_async else digests),
    ):
        before = calls.counts()["hops"]
        assert 3 * BATCH == len([one async for one in results])
        assert calls.counts()["hops"] - before == 3


async def test_the_results_come_in_the_order_of_the_blobs(store: LocalStore) -> None:
    digests = (await filled(store, 1200))[::-1]
    digests.insert(700, Digest.parse(f"sha256:{'ab' * 32}"))

    async with aclosing(store.update_many(digests, {"a": "1"}, errors="yield")) as results:
        found = [(one.index, one.blob, one.error is None) async for one in results]

    assert [(index, digest, index != 700) for index, digest in enumerate(digests)] == found


async def test_no_blob_waits_for_a_batch_to_fill(store: LocalStore) -> None:
    digests = await filled(store, 5)
    taken = anyio.Event()

    async def blobs() -> AsyncIterator[Digest]:
        nonlocal taken
        for digest in digests:
            yield digest
            await taken.wait()
            taken = anyio.Event()

    with anyio.fail_after(60):
        async with aclosing(store.delete_many(blobs())) as results:
            async for one in results:
                assert not await store.exists(one.blob)
                taken.set()


@pytest.mark.parametrize("concurrency", [None, 10])
async def test_the_blobs_are_read_as_fast_as_results_are_taken(store: LocalStore, concurrency: int | None) -> None:
    digests = await filled(store, 10 * BATCH)
    ahead = most = 0

    def blobs() -> Iterator[Digest]:
        nonlocal ahead, most
        for digest in digests:
            ahead += 1
            most = max(most, ahead)
            yield digest

    async with aclosing(store.update_many(blobs(), {"a": "1"}, concurrency=concurrency)) as results:
        async for _ in results:
            ahead -= 1

    assert most <= 5 * (concurrency or BATCH)


async def test_the_failure_of_a_batch_is_that_of_each_of_its_blobs(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        digests = await filled(store, 3)
    async with LocalStore(tmp_path / "store", read_only=True) as store:
        for results in (store.update_many(digests, {"a": "1"}), store.delete_many(digests)):
            with pytest.raises(ExceptionGroup, match="3 of 3 blobs failed") as caught:
                _ = [one async for one in results]
            (error,) = caught.value.exceptions
            assert isinstance(error, StorageError)
        assert 3 == len(await store.infos(digests))
    with pytest.raises(FailedPrecondition):
        store.delete_many(digests)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["update_many", "delete_many"])
async def test_the_event_loop_goes_on_while_many_blobs_are_changed(tmp_path: Path, call: str) -> None:
    shares = [1.0]
    while len(shares) <= ATTEMPTS and min(shares) > SHARE:
        async with LocalStore(tmp_path / f"store {len(shares)}", durability="process-crash") as store:
            await filled(store, 20_000)

            async def work(store: LocalStore = store) -> None:
                async with aclosing(
                    store.update_many(store.walk(), {"a": "1"})
                    if call == "update_many"
                    else store.delete_many(store.walk())
                ) as results:
                    assert 20_000 == len([one.index async for one in results])

            began = time.perf_counter()
            seen = await watched(work())
            seconds = time.perf_counter() - began
        shares.append(seen.longest / seen.process)
        print(f"{seconds:.2f} s, late by {seen.late * 1e3:.1f} ms, {shares[-1]:.2%} in one go, {seen.beats} beats")

    assert min(shares) <= SHARE
