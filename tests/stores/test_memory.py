"""MemoryStore keeps the contract."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard.digest import Digest
from steelyard.memory import MemoryStore
from steelyard.testing import CollectionContract, DamageContract, EventContract, LeaseContract, StoreContract


class TestMemoryStore(StoreContract, LeaseContract, EventContract, CollectionContract, DamageContract):
    @pytest.fixture
    async def store(self) -> Any:
        return MemoryStore()

    async def damage(self, store: Any, digest: Digest, data: bytes) -> None:
        store._blobs[digest].data = data


@pytest.mark.anyio
async def test_entering_a_store_in_memory_changes_nothing() -> None:
    async with MemoryStore() as store:
        digest = (await store.put(b"data")).digest

    assert b"data" == await store.get(digest)
