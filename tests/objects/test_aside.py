"""A damaged blob that is larger than a server copies by one request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, Unreachable
from steelyard.objects import ObjectStore, _aside
from steelyard.objects._layout import blob_key
from steelyard.testing._values import data_of, digest_of

from .bucket import Bucket, BucketRequests

pytestmark = pytest.mark.anyio

MIB = 1 << 20
DAMAGED = data_of(16 * MIB + 5, "damaged")
DIGEST = digest_of(b"undamaged")


@pytest.fixture
async def store(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ObjectStore]:
    """A store with a damaged blob, at a server that copies 10 bytes by one request."""
    monkeypatch.setattr(_aside, "_COPY_BYTES", 10)
    async with ObjectStore("s3://bucket/prefix", spool=tmp_path) as store:
        bucket.write(blob_key(DIGEST), DAMAGED)
        yield store


def quarantined(bucket: Bucket) -> list[bytes]:
    return [data for key, (data, _) in bucket.objects.items() if key.startswith("quarantine/")]


async def test_its_copy_is_sent_in_parts(bucket: Bucket, store: ObjectStore) -> None:
    sizes = []

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client
        if name in {"copy", "part"}:
            sizes.append((name, key.partition("/")[0]))

    bucket.before = before
    with pytest.raises(DataCorrupt):
        await store.verify(DIGEST)

    assert [("part", "quarantine")] * 3 == sizes
    assert [DAMAGED] == quarantined(bucket)
    assert not await exists(store, DIGEST)
    assert {} == bucket.uploads


async def test_a_failure_leaves_the_blob_and_no_upload(bucket: Bucket, store: ObjectStore) -> None:
    parts = 0

    async def before(client: BucketRequests, name: str, key: str) -> None:
        nonlocal parts
        parts += name == "part"
        if parts == 2:
            parts = 3
            raise Unreachable(client.address, reason=key)

    bucket.before = before
    with pytest.raises(Unreachable):
        await store.verify(DIGEST)

    assert await exists(store, DIGEST)
    assert [] == quarantined(bucket)
    assert {} == bucket.uploads


@pytest.mark.parametrize("request_name", ["copy", "head"])
async def test_a_blob_that_is_healed_while_the_server_copies_it_stays(
    bucket: Bucket, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, request_name: str
) -> None:
    monkeypatch.setattr(_aside, "_COPY_BYTES", 5 << 30)
    looks = 0

    async def before(client: BucketRequests, name: str, key: str) -> None:
        nonlocal looks
        del client, key
        looks += name == "head"
        if name == request_name and (name == "copy" or looks == 2):
            bucket.write(blob_key(DIGEST), b"undamaged")

    bucket.before = before
    with pytest.raises(DataCorrupt):
        await store.verify(DIGEST)

    assert b"undamaged" == await store.get(DIGEST)
    assert [] == quarantined(bucket)


async def test_a_blob_that_is_replaced_meanwhile_stays(bucket: Bucket, store: ObjectStore) -> None:
    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client, key
        if name == "part":
            bucket.write(blob_key(DIGEST), b"undamaged")

    bucket.before = before
    with pytest.raises(DataCorrupt):
        await store.verify(DIGEST)

    assert b"undamaged" == await store.get(DIGEST)
    assert [] == quarantined(bucket)
    assert {} == bucket.uploads


async def exists(store: ObjectStore, digest: Digest) -> bool:
    return digest in await store.infos([digest])
