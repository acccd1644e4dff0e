"""Records: changes that meet, answers that are lost, and writers that come too late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from steelyard.errors import Unreachable
from steelyard.model import Buffer
from steelyard.objects import ObjectStore
from steelyard.objects._records import Record, Records
from steelyard.objects._requests import Object, Requests

from .bucket import Bucket, BucketRequests

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture
async def requests(address: str, tmp_path: Path) -> AsyncIterator[Requests]:
    async with ObjectStore(address, spool=tmp_path / "spool") as store:
        yield store._require().requests


def added(number: int) -> Callable[[Record[list[int]] | None], list[int]]:
    return lambda old: [*([] if old is None or old.value is None else old.value), number]


async def test_changes_that_meet_all_count(requests: Requests) -> None:
    records = Records(requests, "test/", list[int])

    async def change(number: int) -> None:
        await records.change("one", added(number))

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(change, number)

    found = await records.read("one")
    assert found is not None
    assert found.value is not None
    assert list(range(12)) == sorted(found.value)
    assert 1 == len(await requests.every("test/one/"))


async def test_a_writer_that_comes_too_late_has_no_effect_and_tries_again(requests: Requests) -> None:
    """Its create waits while others make newer versions and remove the old ones, its own number among them."""
    records, late = Records(requests, "test/", list[int]), Records(_Held(requests), "test/", list[int])
    await records.change("one", added(0))
    held = late._requests
    assert isinstance(held, _Held)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(late.change, "one", added(99))
        await held.waits.wait()
        for number in range(1, 4):
            await records.change("one", added(number))
        assert [4] == [int(each.key[-16:]) for each in await requests.every("test/one/")]
        held.goes_on.set()

    found = await records.read("one")
    assert found is not None
    assert [0, 1, 2, 3, 99] == found.value
    assert [5] == [int(each.key[-16:]) for each in await requests.every("test/one/")]


class _Held(Requests):
    """Holds the first create back."""

    def __init__(self, requests: Requests) -> None:
        super().__init__(requests.address, requests._client, requests._prefix)
        self.waits, self.goes_on = anyio.Event(), anyio.Event()

    async def put(self, key: str, data: Buffer, *, create: bool) -> None:
        self.waits.set()
        await self.goes_on.wait()
        await super().put(key, data, create=create)


async def test_a_removed_record_stays_removed_and_can_be_set_again(requests: Requests) -> None:
    records = Records(requests, "test/", list[int])
    await records.change("one", added(0))
    await records.change("one", lambda _: None)

    removed = await records.read("one")
    assert removed is not None
    assert removed.value is None
    again = await records.change("one", added(1))
    assert again is not None
    assert [1] == again.value
    assert 3 == again.number


async def test_a_listing_that_stays_old_ends_a_change_soon(bucket: Bucket) -> None:
    """A version that was made is not listed, or one that exists: neither is a change of another client."""
    requests = BucketRequests(bucket, "s3://bucket/prefix")
    await Records(requests, "test/", list[int]).change("there", added(0))
    tries: list[str] = []

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client
        if name == "put":
            tries.append(key)

    bucket.before = before
    records = Records(_Old(bucket, "s3://bucket/prefix"), "test/", list[int])
    for name in ("there", "new"):
        with pytest.raises(Unreachable, match="out of date"):
            await records.change(name, added(1))
    assert len(tries) == 32
    assert [0] == (await Records(requests, "test/", list[int]).all())["there"].value


class _Old(BucketRequests):
    """Listings are those of an empty bucket."""

    async def page(self, prefix: str, *, after: str | None = None) -> tuple[list[Object], bool]:
        del prefix, after
        await anyio.lowlevel.checkpoint()
        return [], False
