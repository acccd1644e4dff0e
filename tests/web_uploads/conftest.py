"""Stores for uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from objects.bucket import in_memory

from steelyard import LocalStore, MemoryStore, Store
from steelyard.objects import ObjectStore


@pytest.fixture(params=["local", "memory", pytest.param("objects", marks=pytest.mark.slow)])
async def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    anyio_backend: str,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Store]:
    """Give a store on the disk, one in memory, and one in a bucket."""
    kind: Store
    if request.param == "objects":
        in_memory(monkeypatch)
        kind = ObjectStore("s3://bucket/prefix", spool=tmp_path / "spool")
    else:
        kind = LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore()
    async with kind as opened:
        yield opened
