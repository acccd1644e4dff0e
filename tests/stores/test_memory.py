"""MemoryStore keeps the contract."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from steelyard.digest import Digest
from steelyard.errors import DataCorrupt
from steelyard.memory import MemoryStore
from steelyard.testing import CollectionContract, DamageContract, EventContract, LeaseContract, StoreContract


class TestMemoryStore(StoreContract, LeaseContract, EventContract, CollectionContract, DamageContract):
    @pytest.fixture
    async def store(self) -> Any:
        return MemoryStore()

    async def damage(self, store: Any, digest: Digest, data: bytes) -> None:
        store._blobs[digest].data = data


@pytest.mark.anyio
async def test_a_quarantined_blob_takes_no_memory() -> None:
    store = MemoryStore()
    digest = (await store.put(b"data")).digest
    store._blobs[digest].data = b"damaged"
    damaged = weakref.ref(store._blobs[digest])
    try:
        await store.verify(digest)
    except DataCorrupt:
        pass
    else:
        pytest.fail("the damage was not found")
    gc.collect()

    assert None is damaged()


@pytest.mark.anyio
async def test_entering_a_store_in_memory_changes_nothing() -> None:
    async with MemoryStore() as store:
        digest = (await store.put(b"data")).digest

    assert b"data" == await store.get(digest)
