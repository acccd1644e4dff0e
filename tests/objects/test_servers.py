"""Servers that we did not write: the ones that keep a store do so in the places where they differ, and the ones that lie are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from anyio import to_thread

from steelyard.errors import DataCorrupt, NotFound, ServerRefused
from steelyard.model import Descriptor
from steelyard.objects import ObjectAddress, ObjectStore
from steelyard.objects._layout import blob_key
from steelyard.testing._values import data_of, digest_of

from . import servers
from .s3 import request as send

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.usefixtures("keys")]

LARGE = data_of((17 << 20) + 5, "large")


@pytest.fixture
def anyio_backend() -> str:
    """Give one event loop: the contract suite runs on both."""
    return "asyncio"


class Trusted:
    """The calls in which servers differ that keep a store."""

    server_name: str

    @pytest.fixture
    def server(self, request: pytest.FixtureRequest) -> str:
        url: str = request.getfixturevalue(self.server_name)
        return url

    @pytest.fixture
    async def store(self, address: str, tmp_path: Path) -> AsyncIterator[ObjectStore]:
        async with ObjectStore(address, spool=tmp_path / "spool") as store:
            yield store

    async def test_the_whole_check_passes(self, server: str, tmp_path: Path) -> None:
        """In all rounds, with all racers."""
        address = f"s3://bucket/{uuid4().hex}?endpoint={server}"
        async with ObjectStore(address, spool=tmp_path / "spool") as store:
            check = await store.check()
            assert check is not None
            assert (6, 8, None) == (check.rounds, check.racers, check.fault)

    async def test_pages_that_end_anywhere_miss_nothing(
        self, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Blobs with labels, and names: pages of three end within records and between them."""
        blobs = {digest_of(data): data for data in (b"%d" % number for number in range(7))}
        for digest, data in blobs.items():
            await store.put(data, labels={"data": data.decode()})
            await store.images.create(f"name-{data.decode()}", Descriptor(digest=digest))
        monkeypatch.setattr("steelyard.objects._requests.PAGE", 3)

        assert sorted(blobs) == [info.digest async for info in store.walk("labels.data")]
        assert len(blobs) == len(await store.images.list())
        stats = await store.stats()
        assert (7, 7) == (stats.blobs, stats.blob_bytes)

    async def test_a_large_blob_is_uploaded_in_parts_and_read_in_ranges(self, store: ObjectStore) -> None:
        result = await store.put(LARGE, ref="large")

        assert LARGE == await store.get(result.digest)
        async with store.reader_at(result.digest) as reader:
            assert LARGE[(9 << 20) : (9 << 20) + 100] == await reader.read_at(9 << 20, 100)
        assert [] == [each async for each in store.uploads()]

    async def test_an_upload_is_listed_and_discarded(self, store: ObjectStore) -> None:
        requests, digest = store._require().requests, digest_of(LARGE)
        upload = await requests.begin(blob_key(digest))

        (found,) = [each async for each in store.uploads()]
        assert (digest, upload) == (found.digest, found.id)
        server = await store.server()
        assert server.clock_ahead is not None
        assert abs(server.clock_ahead) < 60
        await requests.abort(blob_key(digest), upload)
        assert [] == [each async for each in store.uploads()]

    async def test_uploads_are_listed_over_pages(self, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
        digests = sorted(digest_of(b"%d" % number) for number in range(5))
        expected = [(digest, await store._require().requests.begin(blob_key(digest))) for digest in digests]
        monkeypatch.setattr("steelyard.objects._requests.PAGE", 2)

        assert expected == sorted([(each.digest, each.id) async for each in store.uploads()])

    async def test_a_damaged_blob_is_copied_aside(self, store: ObjectStore) -> None:
        digest = (await store.put(b"data")).digest
        address = ObjectAddress.parse(store.address)
        path = f"/{address.bucket}/{address.prefix}/{blob_key(digest)}"
        await to_thread.run_sync(lambda: send("PUT", str(address.endpoint), path, data=b"other"))

        with pytest.raises(DataCorrupt):
            await store.verify(digest)

        assert [(digest, 5)] == [(copy.digest, copy.size) for copy in await store.quarantined()]
        with pytest.raises(NotFound):
            await store.info(digest)


class TestVersitygw(Trusted):
    server_name = "versitygw"


class TestSeaweedFS(Trusted):
    server_name = "seaweedfs"


class TestMoto(Trusted):
    server_name = "moto"

    @pytest.fixture
    def racers(self) -> int:
        return 1

    async def test_the_whole_check_passes(self, server: str, tmp_path: Path) -> None:
        """Or not: at times, this server lets two writers create the same object, and then it is refused."""
        try:
            await super().test_the_whole_check_passes(server, tmp_path)
        except ServerRefused as refused:
            if "of 8 writers created the same object" not in refused.reason:
                raise


@pytest.mark.parametrize("server", ["rclone", "nanio"])
async def test_a_server_that_ignores_conditions_is_refused(tmp_path: Path, server: str) -> None:
    """Blobs can be listed there; neither server answers as S3 does to a range beyond the end, so it cannot be read."""
    (tmp_path / "root").mkdir()
    running: AbstractContextManager[str] = getattr(servers, server)(tmp_path / "root")
    with running as url:
        address = f"s3://bucket/p?endpoint={url}"
        with pytest.raises(ServerRefused, match=r"of 8 writers created the same object.*read_only=True"):
            await ObjectStore(address, spool=tmp_path / "spool").aopen()
        for key, data in {"steelyard.json": b'{"format": 1, "id": "1"}', blob_key(digest_of(b"data")): b"data"}.items():
            status, _, _ = await to_thread.run_sync(lambda: send("PUT", url, f"/bucket/p/{key}", data=data))  # noqa: B023
            assert 200 == status
        async with ObjectStore(address, spool=tmp_path / "spool", read_only=True) as store:
            assert [digest_of(b"data")] == [info.digest async for info in store.walk()]
            found: Any = await store.check()
            assert "of 8 writers created the same object" in found.fault
