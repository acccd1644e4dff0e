"""ObjectStore keeps the contract; where object storage cannot, the tests here say what holds in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import NotFound
from steelyard.objects import ObjectAddress, ObjectStore
from steelyard.objects._layout import blob_key
from steelyard.testing import CollectionContract, DamageContract, LeaseContract, StoreContract, every_wait
from steelyard.testing._cancelling import SIZE, is_free
from steelyard.testing._values import data_of, digest_of, keep

from .contract import ObjectsCollect
from .s3 import request as send

pytestmark = pytest.mark.slow


class TestObjectStore(ObjectsCollect, StoreContract, DamageContract, LeaseContract, CollectionContract):
    """All of it on the server that most tests use, on one event loop.

    Attributes:
        server_name: the server of a class.
        one_of: of so many tests of a class, one runs; see `conftest.py`.
        stride: so large that the first wait is tried only; `test_bucket.py` tries them.
    """

    changes_are_whole = False
    stride = 10_000
    server_name = "versitygw"
    one_of = 1

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def server(self, request: pytest.FixtureRequest) -> str:
        url: str = request.getfixturevalue(self.server_name)
        return url

    @pytest.fixture
    async def store(self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
        # The clock of this machine is the server's, which has whole seconds: no lease needs a minute more.
        monkeypatch.setattr("steelyard.objects._leases.SKEW", timedelta(seconds=-1))
        async with ObjectStore(address, spool=tmp_path / "spool") as store:
            yield store

    async def damage(self, store: Any, digest: Digest, data: bytes) -> None:
        """Write other bytes at the key, as another program would."""
        address = ObjectAddress.parse(store.address)
        assert address.endpoint is not None
        path = f"/{address.bucket}/{address.prefix}/{blob_key(digest)}"
        status, _, _ = await to_thread.run_sync(partial(send, "PUT", address.endpoint, path, data=data))
        assert 200 == status

    async def test_an_open_reader_outlives_the_blob(self, store: Store) -> None:
        """A reader holds nothing at the server."""
        digest = await keep(store, b"data")
        async with store.reader_at(digest) as reader:
            await store.delete(digest)
            with pytest.raises(NotFound):
                await reader.read_at(0, 4)

    async def test_a_cancelled_commit_stores_the_blob_or_keeps_the_ingest(self, store: Store) -> None:
        """Both, if the server has done what it was asked, and its answer came too late."""

        async def run(step: int) -> None:
            async with store.writer(f"{step}") as writer:
                await writer.write(data_of(SIZE, step))
                await writer.commit(labels={"step": str(step)})

        async for step in every_wait(run):
            data, held = data_of(SIZE, step), await is_free(store, f"{step}")
            assert held in {0, SIZE}
            if await store.exists(digest_of(data)):
                assert data == await store.get(digest_of(data))
                assert {"step": str(step)} == (await store.info(digest_of(data))).labels
        assert await store.exists(digest_of(data_of(SIZE, step)))
        assert 0 == held

    async def test_a_cancelled_delete_leaves_a_whole_blob_or_none(self, store: Store) -> None:
        """A request that was cancelled on its way may still be carried out, a moment later."""

        async def run(step: int) -> None:
            await store.delete(await keep(store, b"%d" % step, a="b"))

        async for step in every_wait(run):
            with suppress(NotFound):
                info = await store.info(digest_of(b"%d" % step))
                assert {"a": "b"} == info.labels
                assert b"%d" % step == await store.get(info.digest)


class TestObjectStoreOnTrio(TestObjectStore):
    """Some of it on the other event loop."""

    one_of = 4

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"


class TestSeaweedFS(TestObjectStore):
    """Some of it on a second server."""

    server_name = "seaweedfs"
    one_of = 4


class TestSeaweedFSOnTrio(TestObjectStore):
    """Some of it on the other event loop."""

    server_name = "seaweedfs"
    one_of = 16

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"


class TestMoto(TestObjectStore):
    """Some of it on a third server."""

    server_name = "moto"
    one_of = 12

    @pytest.fixture
    def racers(self) -> int:
        """Let no writers race: at times, this server lets two of them create the same object."""
        return 1
