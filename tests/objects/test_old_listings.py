"""Collections on a server whose listings lack what was just written."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.errors import Unreachable
from steelyard.objects import ObjectStore
from steelyard.objects._requests import Object
from steelyard.testing._collecting import AT_ONCE
from steelyard.testing._leasing import HOUR

from .bucket import Bucket, BucketRequests

pytestmark = pytest.mark.anyio


async def test_a_collection_whose_batch_is_not_listed_ends_before_it_removes_anything(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ObjectStore("s3://bucket/prefix", spool=tmp_path / "spool") as store:
        for data in (b"one", b"two"):
            await store.put(data)
        await store.collect(grace=HOUR)
        blobs = {key for key in bucket.objects if key.startswith("blobs/")}
        page = BucketRequests.page

        async def old(self: BucketRequests, prefix: str, *, after: str | None = None) -> tuple[list[Object], bool]:
            found, more = await page(self, prefix, after=after)
            return [each for each in found if "/batch-" not in each.key], more

        monkeypatch.setattr(BucketRequests, "page", old)
        with pytest.raises(Unreachable, match="out of date"):
            await store.collect(grace=AT_ONCE)
        assert blobs == {key for key in bucket.objects if key.startswith("blobs/")}

        monkeypatch.undo()
        assert (await store.collect(grace=AT_ONCE)).blobs == len(blobs)
