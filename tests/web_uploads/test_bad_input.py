"""Requests that are refused: each gets the status that tus has for it, and changes nothing."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import anyio
import pytest

from steelyard import MemoryStore, Store
from steelyard.errors import InvalidArgument
from steelyard.model import Status
from steelyard.web.uploads import Uploads

from .client import PATCH_TYPE, Client

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 40


@pytest.fixture
def client(store: Store) -> Client:
    """Give a client of an application with the default arguments."""
    return Client(Uploads(store))


@pytest.mark.parametrize("is_complete", [False, True])
async def test_a_wrong_offset_is_409_and_changes_nothing(client: Client, *, is_complete: bool) -> None:
    path = await client.create(len(DATA))
    there = len(DATA) if is_complete else 10
    await client.patch(path, 0, DATA[:there])

    for offset in (0, 9, 11, 10**17):
        assert 409 == (await client.patch(path, offset, b"x")).status
    assert there == (await client("HEAD", path)).offset


@pytest.mark.parametrize("path", ["/", "/nothing", "/" + "A" * 22, "/../etc", "/a/b", "/" + "é" * 22, "/" + "A" * 23])
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
async def test_what_is_no_upload_is_404_and_has_no_offset(client: Client, path: str, method: str) -> None:
    answer = await client(method, path, upload_offset=0, content_type=PATCH_TYPE)

    assert (405 if path == "/" else 404) == answer.status
    assert "upload-offset" not in answer.headers


async def test_another_version_is_412_and_nothing_happens(client: Client, store: Store) -> None:
    for version in ("0.2.2", None, ""):
        answer = await client("POST", upload_length=1, resumable=version)
        assert (412, "1.0.0") == (answer.status, answer.headers["tus-version"])

    assert [] == await store.leases.list()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"upload_length": "-1"}, 400),
        ({"upload_length": "1.5"}, 400),
        ({"upload_length": "9" * 30}, 400),
        ({"upload_length": "٣"}, 400),
        ({"upload_length": 1, "upload_defer_length": 1}, 400),
        ({"upload_defer_length": 2}, 400),
        ({"upload_length": 1001}, 413),
        ({"upload_length": 1, "upload_metadata": "a b,a c"}, 400),
        ({"upload_length": 1, "upload_metadata": "a !"}, 400),
        ({"upload_length": 1, "upload_metadata": ",a"}, 400),
        ({"upload_length": 1, "upload_metadata": "a /w=="}, 400),
        ({"upload_length": 1, "upload_metadata": "a " + "A" * 4000}, 431),
    ],
)
async def test_a_creation_with_wrong_fields(store: Store, fields: dict[str, Any], status: int) -> None:
    answer = await Client(Uploads(store, max_size=1000))("POST", **fields)

    assert status == answer.status
    assert answer.text
    assert [] == await store.leases.list()


async def test_a_patch_with_wrong_fields(client: Client) -> None:
    path = await client.create(10)

    assert 415 == (await client("PATCH", path, b"a", upload_offset=0)).status
    assert 400 == (await client("PATCH", path, b"a", content_type=PATCH_TYPE)).status
    assert 400 == (await client.patch(path, -1, b"a")).status
    assert 0 == (await client("HEAD", path)).offset


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_beyond_the_length_is_413(client: Client, *, is_chunked: bool) -> None:
    path = await client.create(10)
    body: bytes | list[bytes] = [b"12345", b"678901"] if is_chunked else b"12345678901"
    answer = await client.patch(path, 0, body)
    offset = (await client("HEAD", path)).offset

    assert 413 == answer.status
    assert (5 if is_chunked else 0) == offset
    assert (204, 10) == ((last := await client.patch(path, offset, b"1234567890"[offset:])).status, last.offset)


async def test_no_upload_is_larger_than_the_limit_although_its_length_comes_later(store: Store) -> None:
    client = Client(Uploads(store, max_size=10))
    path = await client.create(None, upload_defer_length=1)

    assert 413 == (await client.patch(path, 0, [b"12345", b"678901"])).status
    assert 413 == (await client.patch(path, 5, b"", upload_length=11)).status
    assert 204 == (await client.patch(path, 5, b"12345", upload_length=10)).status


async def test_an_expired_upload_is_410_and_its_bytes_go(store: Store) -> None:
    client = Client(Uploads(store, expires=timedelta(microseconds=1)))
    path = await client.create(10)

    assert 410 == (await client.patch(path, 0, b"a")).status
    assert 410 == (await client("HEAD", path)).status
    assert 1 == len(await store.list_statuses())
    assert 1 == await Uploads(store).sweep()
    assert [] == await store.list_statuses()
    assert 404 == (await client.patch(path, 0, b"a")).status


async def test_only_own_uploads_are_touched(store: Store) -> None:
    async with await store.writer("uploads/" + "A" * 22) as foreign, await store.writer("mine") as mine:
        await foreign.write(b"x")
        await mine.write(b"y")
    first = Client(Uploads(store, prefix="a"))
    second = Client(Uploads(store, prefix="a/b", expires=timedelta(microseconds=1)))
    path = await first.create(5)
    other = await second.create(5)

    assert [404, 404, 404] == [
        (await second("HEAD", path)).status,
        (await first("HEAD", "/b" + other)).status,
        (await Client(Uploads(store))("DELETE", "/" + "A" * 22)).status,
    ]
    await Uploads(store, prefix="a").sweep()
    assert 4 == len(await store.list_statuses())
    await Uploads(store, prefix="a/b").sweep()
    assert {"mine", "uploads/" + "A" * 22, "a" + path} == {each.ref for each in await store.list_statuses()}


async def test_there_is_a_limit_of_unfinished_uploads(store: Store) -> None:
    client = Client(Uploads(store, max_uploads=2))
    path = await client.create(1)
    await client.create(1)
    refused = await client("POST", upload_length=1)
    await client.patch(path, 0, b"a")

    assert (503, "60") == (refused.status, refused.headers["retry-after"])
    await client.create(1)


async def test_the_limit_holds_for_creations_at_once_and_a_deleted_upload_makes_room(store: Store) -> None:
    client = Client(Uploads(store, max_uploads=5))
    answers: list[int] = []
    paths: list[str] = []

    async def create() -> None:
        answer = await client("POST", upload_length=1)
        answers.append(answer.status)
        if answer.status == 201:
            paths.append("/" + answer.headers["location"].rpartition("/")[2])

    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(create)
    assert (5, 35) == (answers.count(201), answers.count(503))
    assert 204 == (await client("DELETE", paths[0])).status
    await client.create(1)
    assert 503 == (await client("POST", upload_length=1)).status


async def test_uploads_of_another_application_are_counted_within_a_second(store: Store) -> None:
    client, other = (Client(Uploads(store, max_uploads=3)) for _ in range(2))
    await client.create(1)
    paths = [await other.create(1) for _ in range(2)]
    await anyio.sleep(1.0)
    assert 503 == (await client("POST", upload_length=1)).status

    await other.patch(paths[0], 0, b"a")
    await anyio.sleep(1.0)
    await client.create(1)


async def test_many_creations_do_not_list_all_uploads_each_time() -> None:
    class Counting(MemoryStore):
        lists = 0

        async def list_statuses(self, *filters: str) -> list[Status]:
            self.lists += 1
            return await super().list_statuses(*filters)

    async with Counting() as store:
        client = Client(Uploads(store, max_uploads=300))
        begun = time.monotonic()
        for _ in range(300):
            await client.create(1)
        for _ in range(100):
            assert 503 == (await client("POST", upload_length=1)).status
        assert store.lists <= 3 + (time.monotonic() - begun)  # one of them for the uploads that have expired


async def test_an_ingest_that_was_aborted_is_a_discarded_upload(store: Store, client: Client) -> None:
    path = await client.create(10)
    await client.patch(path, 0, b"abc")
    await store.abort("uploads" + path)

    assert 410 == (await client("HEAD", path)).status
    assert 410 == (await client.patch(path, 3, b"d")).status


@pytest.mark.parametrize("prefix", ["", "/", "a/", "/a", "a//b", "a b", "é", "a" * 201, "a..b"])
async def test_a_prefix_is_a_plain_path(store: Store, prefix: str) -> None:
    with pytest.raises(InvalidArgument):
        Uploads(store, prefix=prefix)
