"""Uploads into a containerd: the store has leases and ingests, and none of ours knows how it keeps them."""

from __future__ import annotations

import msgspec
import pytest

from steelyard.containerd import RemoteStore
from steelyard.testing._values import digest_of
from steelyard.web.uploads import Upload, Uploads

from .client import Client, checksum

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DATA = bytes(range(256)) * 20_000


def cut(data: bytes) -> list[bytes]:
    return [data[place : place + 60_000] for place in range(0, len(data), 60_000)]


async def test_an_upload_resumes_and_is_complete(containerd: str, namespace: str) -> None:
    told: list[Upload] = []

    async def on_complete(upload: Upload) -> None:
        told.append(upload)
        target = msgspec.structs.replace(upload.descriptor, media_type="application/octet-stream")
        await store.images.assign({f"files/{upload.id}": target}, overwrite=True)

    async with RemoteStore(containerd, namespace=namespace) as store:
        client = Client(Uploads(store, on_complete=on_complete))
        path = await client.create(len(DATA))
        assert 100 == (await client.patch(path, 0, DATA[:100])).offset
        again = Client(Uploads(store, on_complete=on_complete))
        assert 100 == (await again("HEAD", path)).offset
        assert 460 == (await again.patch(path, 100, DATA[100:200], upload_checksum=checksum(b""))).status
        part = DATA[100 : 2 << 20]
        assert 2 << 20 == (await again.patch(path, 100, cut(part), upload_checksum=checksum(part))).offset
        last = await again.patch(path, 2 << 20, DATA[2 << 20 :])

        assert str(digest_of(DATA)) == last.headers["steelyard-digest"]
        assert last.headers["steelyard-digest"] == (await client("HEAD", path)).headers["steelyard-digest"]
        assert DATA == await store.get(digest_of(DATA))
        assert [path[1:]] == [upload.id for upload in told]
        assert 204 == (await client("DELETE", path)).status
        assert 404 == (await client("HEAD", path)).status
        # It cannot cut an ingest. Bytes with a wrong checksum never count, at the price of the upload.
        path = await client.create(len(DATA))
        await client.patch(path, 0, DATA[:100])
        assert 460 == (await client.patch(path, 100, cut(part), upload_checksum=checksum(b""))).status
        assert 410 == (await client("HEAD", path)).status
        assert 404 == (await client("HEAD", path)).status
        for length in (3, 4):
            gone = await client.create(length)
            await client.patch(gone, 0, b"abc"[: length - 1])
            assert 204 == (await client("DELETE", gone)).status
        assert [] == await store.list_statuses()
