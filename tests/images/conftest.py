"""Fixtures of the tests of images."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from steelyard import MemoryStore, Store


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """Give an empty store."""
    async with MemoryStore() as store:
        yield store
