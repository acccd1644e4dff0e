"""Objects that are gone at once: callers get an error of theirs, never one that is meant for the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.errors import CollectionBusy, ServerRefused
from steelyard.objects import ObjectStore

from .bucket import Bucket, BucketRequests

pytestmark = pytest.mark.anyio


def vanish(bucket: Bucket, prefix: str) -> None:
    """Have the objects below a prefix be gone whenever they are looked at or read."""

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client
        if name in {"head", "get"} and key.startswith(prefix):
            bucket.objects.pop(key, None)

    bucket.before = before


async def test_a_server_that_loses_what_it_was_given_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    vanish(bucket, "probe/")
    with pytest.raises(ServerRefused, match="was just created does not exist"):
        async with ObjectStore("s3://bucket/prefix", spool=tmp_path):
            pass


async def test_a_collection_whose_first_object_another_one_has_removed_is_over(bucket: Bucket, tmp_path: Path) -> None:
    async with ObjectStore("s3://bucket/prefix", spool=tmp_path) as store:
        vanish(bucket, "collecting/")
        with pytest.raises(CollectionBusy, match="while this one was suspended"):
            await store.collect()
