"""ObjectStore keeps the contract; where object storage cannot, the tests here say what holds in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from steelyard.digest import Digest
from steelyard.objects import ObjectAddress, ObjectStore
from steelyard.objects._layout import blob_key
from steelyard.testing import CollectionContract, DamageContract, LeaseContract, StoreContract

from .contract import ObjectsCollect, ObjectsKeep
from .s3 import request as send

pytestmark = pytest.mark.slow


class TestObjectStore(ObjectsKeep, ObjectsCollect, StoreContract, DamageContract, LeaseContract, CollectionContract):
    """A third of it on the server that most tests use, on one event loop; `test_bucket.py` has all of it, without a server.

    Attributes:
        server_name: the server of a class.
        left_out: tests that take thousands of requests one after the other; `test_bucket.py` has them.
        one_of: of so many tests of a class, one runs; see `conftest.py`.
        stride: so large that the first wait is tried only; `test_bucket.py` tries them.
    """

    stride = 10_000
    left_out = ("test_a_long_chain_is_followed", "test_a_cancelled_collection_leaves_garbage_only")
    server_name = "versitygw"
    one_of = 3

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


class TestObjectStoreOnTrio(TestObjectStore):
    """Some of it on the other event loop."""

    one_of = 10

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"


class TestSeaweedFS(TestObjectStore):
    """Some of it on a second server."""

    server_name = "seaweedfs"
    one_of = 8


class TestSeaweedFSOnTrio(TestObjectStore):
    """Some of it on the other event loop."""

    server_name = "seaweedfs"
    one_of = 20

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
