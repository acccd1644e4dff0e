"""The whole contract on a bucket in memory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from steelyard.digest import Digest
from steelyard.objects import ObjectStore
from steelyard.objects._layout import blob_key
from steelyard.testing import CollectionContract, DamageContract, LeaseContract, StoreContract

from .bucket import Bucket
from .contract import ObjectsCollect, ObjectsKeep


class TestObjectStoreInMemory(
    ObjectsKeep, ObjectsCollect, StoreContract, DamageContract, LeaseContract, CollectionContract
):
    one_of = 1
    stride = int(os.environ.get("STEELYARD_OBJECT_STRIDE", "23"))

    @pytest.fixture
    async def store(self, bucket: Bucket, tmp_path: Path) -> AsyncIterator[Any]:
        self.bucket = bucket
        async with ObjectStore("s3://bucket/prefix", spool=tmp_path / "spool") as store:
            yield store

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def damage(self, store: Any, digest: Digest, data: bytes) -> None:
        """Have another program write other bytes at the key."""
        del store
        self.bucket.write(blob_key(digest), data, is_ours=False)


class TestObjectStoreInMemoryOnTrio(TestObjectStoreInMemory):
    """Some of it on the other event loop."""

    one_of = 6

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"
