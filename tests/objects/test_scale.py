"""Memory of calls on many blobs, whose objects are made up page by page."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import anyio
import pytest

from steelyard.objects import ObjectStore
from steelyard.objects._layout import BLOBS
from steelyard.objects._requests import Object

from .bucket import Bucket, BucketRequests

pytestmark = pytest.mark.anyio

_PAGE = 1000


class Many(BucketRequests):
    """Requests to a bucket that has so many blobs, which exist only in its listing."""

    blobs = 0

    async def page(self, prefix: str, *, after: str | None = None) -> tuple[list[Object], bool]:
        if prefix != BLOBS:
            return await super().page(prefix, after=after)
        await anyio.lowlevel.checkpoint()
        first = 0 if after is None or after == prefix else int(after.rsplit("/", 1)[1], 16) + 1
        last = min(first + _PAGE, self.blobs)
        return [
            Object(f"{BLOBS}sha256/{number:064x}", 10, f"{number:x}", 10**18, is_ours=True)
            for number in range(first, last)
        ], last < self.blobs


async def walked(store: ObjectStore, blobs: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Walk over so many blobs, and return the most memory that this took at once."""
    monkeypatch.setattr(Many, "blobs", blobs)
    count = 0
    tracemalloc.start()
    try:
        async for _ in store.walk():
            count += 1
        assert blobs == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_a_walk_takes_the_memory_of_a_page(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1,000,000 blobs the process grew by 1.4 MB."""
    monkeypatch.setattr("steelyard.objects._store.Requests", lambda address, *_: Many(bucket, address))
    async with ObjectStore("s3://bucket", spool=tmp_path) as store:
        await walked(store, 2 * _PAGE, monkeypatch)
        few, many = [await walked(store, blobs, monkeypatch) for blobs in (2 * _PAGE, 8 * _PAGE)]
    assert many < 1.5 * few
