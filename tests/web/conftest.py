"""Stores for responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from steelyard import LocalStore, MemoryStore, Store
from steelyard.web import _verified


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:  # noqa: ARG001
    """Give a store on the disk, and one in memory."""
    kind: Store = LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore()
    async with kind as opened:
        yield opened


@pytest.fixture
async def local(tmp_path: Path, anyio_backend: str) -> AsyncIterator[LocalStore]:  # noqa: ARG001
    """Give a store on the disk."""
    async with LocalStore(tmp_path / "store") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Have no response profit from that of another test."""
    _verified.forget()
    yield
    _verified.forget()
