"""The contract on a bucket in memory: what needs too many requests for a real server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from steelyard.objects import ObjectStore
from steelyard.testing import CollectionContract, LeaseContract

from .bucket import Bucket
from .contract import ObjectsCollect


class TestObjectStoreInMemory(ObjectsCollect, LeaseContract, CollectionContract):
    changes_are_whole = False
    one_of = 1
    stride = int(os.environ.get("STEELYARD_OBJECT_STRIDE", "23"))

    @pytest.fixture
    async def store(self, bucket: Bucket, tmp_path: Path) -> AsyncIterator[Any]:
        del bucket
        async with ObjectStore("s3://bucket/prefix", spool=tmp_path / "spool") as store:
            yield store

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


class TestObjectStoreInMemoryOnTrio(TestObjectStoreInMemory):
    """Some of it on the other event loop."""

    one_of = 4

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "trio"
