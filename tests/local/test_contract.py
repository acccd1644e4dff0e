"""LocalStore keeps the contract."""

from __future__ import annotations

import os
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

    async def age(self, store: Any, *digests: Digest) -> None:
        for digest in digests:
            path = Path(store.path) / "blobs" / digest.algorithm / digest.encoded
            found, hours = path.stat(), 2 * 3600 * 10**9
            os.utime(path, ns=(found.st_atime_ns - hours, found.st_mtime_ns - hours))

    async def damage(self, store: Any, digest: Digest, data: bytes) -> None:
        blob = Path(store.path) / "blobs" / digest.algorithm / digest.encoded
        blob.chmod(0o644)
        blob.write_bytes(data)
        blob.chmod(0o444)
