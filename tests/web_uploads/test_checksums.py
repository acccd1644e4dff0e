"""Checksums: what is not compared does not count, whatever happens."""

from __future__ import annotations

import random

import anyio
import pytest

from steelyard import Store
from steelyard.web.uploads import Uploads

from .client import PATCH_TYPE, Client, Sender, checksum

pytestmark = pytest.mark.anyio

SMALL = b"ten pounds of wool"
LARGE = random.Random(15).randbytes(3 << 20)
"""More than is kept in memory until it was compared."""


@pytest.fixture
def client(store: Store) -> Client:
    """Give a client."""
    return Client(Uploads(store))


def cut(data: bytes, size: int = 60_000) -> list[bytes]:
    return [data[place : place + size] for place in range(0, len(data), size)]


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
async def test_right_bytes_count(store: Store, client: Client, data: bytes, algorithm: str) -> None:
    path = await client.create(len(data) + 1)
    answer = await client.patch(path, 0, cut(data), upload_checksum=checksum(data, algorithm))
    last = await client.patch(path, len(data), b"x", upload_checksum=checksum(b"x", algorithm))

    assert (204, len(data)) == (answer.status, answer.offset)
    assert data + b"x" == await store.get(last.headers["steelyard-digest"])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("is_one_piece", [False, True])
async def test_wrong_bytes_are_discarded(store: Store, client: Client, data: bytes, *, is_one_piece: bool) -> None:
    path = await client.create(len(data) + 3)
    await client.patch(path, 0, b"abc")
    wrong = data[:-1] + b"\0"
    answer = await client.patch(path, 3, wrong if is_one_piece else cut(wrong), upload_checksum=checksum(data))

    assert 460 == answer.status
    assert 3 == (await client("HEAD", path)).offset
    last = await client.patch(path, 3, cut(data), upload_checksum=checksum(data))
    assert b"abc" + data == await store.get(last.headers["steelyard-digest"])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_a_part_of_the_bytes_does_not_count(store: Store, client: Client, data: bytes) -> None:
    path = await client.create(len(data) + 3)
    await client.patch(path, 0, b"abc")
    sender = Sender()
    for piece in cut(data[:-1]):
        sender.send(piece)
    sender.leave()
    answer = await client.patch(path, 3, sender, upload_checksum=checksum(data))

    assert 0 == answer.status
    again = Client(Uploads(store))  # as after a restart
    assert 409 == (await again.patch(path, 3 + len(data) - 1, b"x")).status
    assert 3 == (await again("HEAD", path)).offset
    last = await again.patch(path, 3, data)
    assert b"abc" + data == await store.get(last.headers["steelyard-digest"])


async def test_bytes_that_are_not_compared_yet_do_not_count_after_a_cancellation(store: Store, client: Client) -> None:
    path = await client.create(len(LARGE))
    await client.patch(path, 0, LARGE[:10])
    sender = Sender()
    for piece in cut(LARGE[10:-1]):
        sender.send(piece)
    with anyio.move_on_after(0.3):
        await client.patch(path, 10, sender, upload_checksum=checksum(LARGE[10:]))
        pytest.fail("it waits for the last byte")

    assert 10 == (await client("HEAD", path)).offset
    last = await client.patch(path, 10, LARGE[10:])
    assert LARGE == await store.get(last.headers["steelyard-digest"])


async def test_a_creation_with_wrong_bytes_creates_nothing(store: Store, client: Client) -> None:
    for data in (SMALL, LARGE):
        answer = await client(
            "POST", "/", cut(data), upload_length=len(data), content_type=PATCH_TYPE, upload_checksum=checksum(b"other")
        )
        assert (460, None) == (answer.status, answer.headers.get("location"))

    assert ([], []) == (await store.list_statuses(), await store.leases.list())


@pytest.mark.parametrize(
    "field", ["md4 AAAA", "sha1", "sha1 !", "sha1 AAAA", "sha256 " + checksum(b"")[5:], "", "sha1 \u00e9"]
)
async def test_a_field_that_is_no_checksum_is_400(client: Client, field: str) -> None:
    path = await client.create(5)

    assert 400 == (await client.patch(path, 0, b"a", upload_checksum=field)).status
    assert 0 == (await client("HEAD", path)).offset
