"""Many downloads at once, image names and leases."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from steelyard import LocalStore, MemoryStore
from steelyard.errors import InvalidArgument, NotFound
from steelyard.fetch import FetchItem, fetch, fetch_many

from .conftest import QUICK
from .server import Server, content, dropped, ranged, status, whole

pytestmark = pytest.mark.anyio


async def test_many_files_share_connections_that_are_limited(server: Server, tmp_path: Path) -> None:
    urls = [server.plan(f"/{number}", whole(content(1000, number))) for number in range(60)]
    async with LocalStore(tmp_path / "store") as store:
        async with aclosing(fetch_many(store, urls, per_host=3)) as results:
            found = {one.index: one.result async for one in results}
        for number in range(60):
            assert content(1000, number) == await store.get(found[number].digest)
    assert 60 == len(server.requests)
    assert server.most <= 3
    assert server.connections < 30  # an idle one may have been closed


async def test_files_of_all_sizes_arrive_although_some_break(server: Server, other: Server) -> None:
    items = []
    for number in range(24):
        data = ranged(content(number * 100_000, number))
        place = server if number % 2 else other
        items.append(place.plan(f"/{number}", *([dropped(data, number * 50_000)] if number % 3 == 0 else []), data))
    async with MemoryStore() as store:
        async with aclosing(fetch_many(store, items, retries=QUICK)) as results:
            sizes = {one.index: one.result.size async for one in results}
        assert {number: number * 100_000 for number in range(24)} == sizes
        assert [] == await store.list_statuses()


async def test_failures_are_raised_at_the_end_or_yielded(server: Server) -> None:
    good = server.plan("/good", whole(b"good"))
    items: list[FetchItem | str] = [good, FetchItem(url=server.url("/bad?key=secret")), "nonsense"]
    async with MemoryStore() as store:
        with pytest.raises(ExceptionGroup, match="fetch_many: 2 of 3 items failed") as caught:
            assert 1 == len([one async for one in fetch_many(store, items)])
        notes = {note for error in caught.value.exceptions for note in error.__notes__}
        assert {f"fetch_many: item 1: {server.url('/bad')}", "fetch_many: item 2: an invalid URL"} == notes

        found = {one.index: one.error async for one in fetch_many(store, items, errors="yield")}
        assert {0: type(None), 1: NotFound, 2: InvalidArgument} == {index: type(one) for index, one in found.items()}


async def test_stored_digests_are_not_requested(server: Server) -> None:
    async with MemoryStore() as store:
        expected = (await store.put(b"wool")).digest
        items = [FetchItem(url=server.url(), expected=expected, name="wool", size=4)]
        assert [False] == [one.result.new async for one in fetch_many(store, items)]
        assert expected == (await store.images.get("wool")).target.digest
    assert [] == server.requests


async def test_a_name_keeps_the_file_and_a_lease_does_until_then(server: Server) -> None:
    url, unnamed = server.plan("/file", whole(b"named")), server.plan("/other", whole(b"unnamed"))
    async with MemoryStore() as store:
        async with aclosing(fetch_many(store, [FetchItem(url=url, name="name"), unnamed])) as results:
            async for _ in results:
                assert 0 == (await store.collect(grace=timedelta(0))).blobs
        assert 1 == (await store.collect(grace=timedelta(0))).blobs
        assert b"named" == await store.get((await store.images.get("name")).target.digest)
        server.plan("/file", whole(b"moved"))
        await fetch(store, url, name="name")
        assert b"moved" == await store.get((await store.images.get("name")).target.digest)
        assert [] == await store.leases.list()


async def test_a_name_that_cannot_be_one_is_refused_before_the_request(server: Server) -> None:
    async with MemoryStore() as store:
        with pytest.raises(InvalidArgument):
            await fetch(store, server.url(), name="\n")
    assert [] == server.requests


async def test_items_are_taken_as_results_are(server: Server) -> None:
    url = server.plan("/file", whole(b"same"))
    taken = received = 0

    async def items() -> AsyncGenerator[str, None]:
        nonlocal taken
        while True:
            taken += 1
            await anyio.lowlevel.checkpoint()
            yield url

    received = 0
    async with MemoryStore() as store, aclosing(fetch_many(store, items(), concurrency=2)) as results:
        async for _ in results:  # in the order in which they end, which is not that of the items
            received += 1
            assert taken <= received + 4
            if received > 20:
                break


async def test_labels_are_those_of_new_blobs(server: Server) -> None:
    for size in (10, 2 << 20):
        url = server.plan("/file", ranged(content(size)))
        async with MemoryStore() as store:
            result = await fetch(store, url, labels={"a": "b"})
            assert {"a": "b"} == (await store.info(result.digest)).labels


async def test_each_item_has_its_own_attempts(server: Server) -> None:
    urls = [server.plan(f"/{number}", status(503), whole(content(10, number))) for number in range(5)]
    async with MemoryStore() as store:
        assert 5 == len([one async for one in fetch_many(store, urls, retries=QUICK)])
    assert 10 == len(server.requests)
