"""`BlobResponse` with a store on object storage: whole blobs, ranges, and clients that go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from web.asking import ask, parts, scope_of

from steelyard.objects import ObjectStore
from steelyard.testing._values import data_of
from steelyard.web import BlobResponse, Message, _verified

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

MIB = 1 << 20
SMALL, LARGE = data_of(1000, "small"), data_of(12 * MIB + 5, "large")


@pytest.fixture
async def store(address: str, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    _verified.forget()
    async with ObjectStore(address, spool=tmp_path / "spool") as opened:
        yield opened


async def test_blobs_and_ranges(store: ObjectStore) -> None:
    for data in (SMALL, LARGE):
        app = BlobResponse(store, (await store.put(data)).digest)
        for _ in range(2):
            answer = await ask(app)
            assert (200, data, True) == (answer.status, answer.body, answer.is_complete)
        assert (206, data[5:]) == ((found := await ask(app, headers={"Range": "bytes=5-"})).status, found.body)
        assert data[-3:] == (await ask(app, headers={"Range": "bytes=-3"})).body
        several = await ask(app, headers={"Range": "bytes=0-1,500-600"})
        assert [data[:2], data[500:601]] == [part for _, _, part in parts(several)]
        assert 200 == (await ask(app, "HEAD")).status
        assert 304 == (await ask(app, headers={"If-None-Match": "*"})).status
    assert 404 == (await ask(BlobResponse(store, "sha256:" + "00" * 32))).status


async def test_a_file_is_never_sent_by_the_server(store: ObjectStore) -> None:
    app = BlobResponse(store, (await store.put(LARGE)).digest, verify=False)
    answer = await ask(app, extensions={"http.response.pathsend": {}})

    assert (None, LARGE) == (answer.path, answer.body)


async def test_a_client_that_goes_ends_the_request_to_the_server(store: ObjectStore) -> None:
    app = BlobResponse(store, (await store.put(LARGE)).digest)
    gone = anyio.Event()
    sent = 0

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))
        if sent > MIB:
            gone.set()
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(30):
        await app(scope_of(), receive, send)
    assert sent < 8 * MIB
    assert LARGE == (await ask(app)).body


async def test_a_deleted_blob_is_not_served_from_memory(store: ObjectStore) -> None:
    digest = (await store.put(SMALL)).digest
    assert 200 == (await ask(BlobResponse(store, digest))).status
    await store.delete(digest)

    assert 404 == (await ask(BlobResponse(store, digest))).status
