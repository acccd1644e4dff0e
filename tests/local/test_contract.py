"""LocalStore keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from steelyard.digest import Digest
from steelyard.local import LocalStore
from steelyard.testing import CollectionContract, DamageContract, EventContract, LeaseContract, StoreContract


class TestLocalStore(StoreContract, LeaseContract, CollectionContract, EventContract, DamageContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[LocalStore]:
        async with LocalStore(tmp_path / "store", durability="process-crash") as store:
            yield store

    async def damage(self, store: Any, digest: Digest, data: bytes) -> None:
        blob = Path(store.path) / "blobs" / digest.algorithm / digest.encoded
        blob.chmod(0o644)
        blob.write_bytes(data)
        blob.chmod(0o444)
