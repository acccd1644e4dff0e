"""The requests of each call: `docs/object-storage.md` has the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from steelyard.model import Descriptor, Labels
from steelyard.objects import ObjectStore
from steelyard.objects._layout import BLOBS, blob_key
from steelyard.testing._collecting import AT_ONCE, document
from steelyard.testing._leasing import HOUR
from steelyard.testing._values import data_of, digest_of

from .bucket import Bucket, BucketRequests

pytestmark = pytest.mark.anyio

BLOB, LABELLED, OTHER = data_of(100, "blob"), data_of(100, "labelled"), data_of(100, "other")
DOCUMENT = document(layers=[digest_of(BLOB)])


async def counted(bucket: Bucket, call: Callable[[], Awaitable[object]]) -> int:
    """Return the requests of a call."""
    requests = 0

    async def before(client: BucketRequests, name: str, key: str) -> None:
        nonlocal requests
        del client, name, key
        requests += 1

    bucket.before = before
    await call()
    bucket.before = None
    return requests


async def many(store: ObjectStore) -> None:
    async with aclosing(store.put_many(data_of(100, number) for number in range(200))) as results:
        assert 200 == len([one async for one in results])


async def update(store: ObjectStore) -> None:
    info = await store.info(digest_of(LABELLED))
    await store.update(msgspec.structs.replace(info, labels=Labels({"a": "c"})))


async def leased(store: ObjectStore) -> None:
    await store.with_lease("lease").put(OTHER)


async def walk(store: ObjectStore) -> None:
    assert [info async for info in store.walk()]


def calls(store: ObjectStore) -> dict[str, Callable[[], Awaitable[object]]]:
    target = Descriptor(digest=digest_of(BLOB))
    return {
        "put, new": lambda: store.put(BLOB),
        "put, stored": lambda: store.put(BLOB),
        "put, stored, expected": lambda: store.put(BLOB, expected=digest_of(BLOB)),
        "put, a document": lambda: store.put(DOCUMENT),
        "put, labels": lambda: store.put(LABELLED, labels={"a": "b"}),
        "put_many, 200 new": lambda: many(store),
        "exists": lambda: store.exists(digest_of(BLOB)),
        "info": lambda: store.info(digest_of(BLOB)),
        "update": lambda: update(store),
        "name, new": lambda: store.images.create("name", target),
        "name, moved": lambda: store.images.assign({"name": Descriptor(digest=digest_of(DOCUMENT))}, overwrite=True),
        "lease": lambda: store.leases.create("lease", expires=HOUR),
        "put, leased": lambda: leased(store),
        "put, leased again": lambda: leased(store),
        "walk": lambda: walk(store),
        "why": lambda: store.why(digest_of(BLOB)),
        "delete": lambda: store.delete(digest_of(OTHER)),
        "collect, no garbage goes": lambda: store.collect(grace=HOUR),
        "collect, 201 go": lambda: store.collect(grace=AT_ONCE),
    }


async def test_the_requests_of_each_call(bucket: Bucket, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    async with ObjectStore("s3://bucket/prefix", spool=tmp_path) as store:
        await store.put(b"first")  # which looks whether there are collections
        for name, call in calls(store).items():
            found[name] = await counted(bucket, call)
        for name in ("put, new", "put, stored"):
            if name == "put, new":
                await store.images.delete("name")
                await store.delete(digest_of(BLOB))
            found[f"{name}, once collected"] = await counted(bucket, calls(store)[name])

    # How many batches share a look depends on the order in which they wait.
    assert 200 < found.pop("put_many, 200 new") <= MANY
    assert EXPECTED == found


async def test_infos_of_many_are_listed_where_that_takes_fewer_requests(bucket: Bucket, tmp_path: Path) -> None:
    stored = [digest_of(b"%d" % number) for number in range(4500)]
    absent = [digest_of(b"absent %d" % number) for number in range(500)]
    async with ObjectStore("s3://bucket/prefix", spool=tmp_path) as store:
        for number, digest in enumerate(stored):
            bucket.write(blob_key(digest), b"%d" % number)
        labelled = [await store.info(digest) for digest in stored[:2]]
        for info in labelled:
            await store.update(msgspec.structs.replace(info, labels=Labels({"a": "b"})))

        found: dict[str, tuple[int, int]] = {}
        for name, digests in {
            "all and absent": [*stored, *absent],
            "half": stored[::2],
            "one in 45": stored[::45],
            "few": stored[100:103],
            "ten": stored[100:110],
        }.items():
            infos: dict[Any, Any] = {}

            async def look(digests: Any = digests, infos: dict[Any, Any] = infos) -> None:
                infos |= await store.infos(digests)

            requests = await counted(bucket, look)
            assert [digest for digest in digests if digest in set(stored)] == list(infos)
            assert [await store.info(digest) for digest in list(infos)[:4]] == list(infos.values())[:4]
            found[name] = (len(digests), requests)

    assert {
        # Five lanes; a page has 1,000 of 4,500 blobs, a lane 900 of them. Two blobs have labels, which are read.
        "all and absent": (5000, 12),
        "half": (2250, 2 * 6 + 1),
        "one in 45": (100, 2 * 5 + 1),
        "few": (3, 6),
        "ten": (10, 2 * 3),
    } == found


async def test_infos_of_few_among_many_are_asked_for(bucket: Bucket, tmp_path: Path) -> None:
    stored = [digest_of(b"%d" % number) for number in range(30_000)]
    async with ObjectStore("s3://bucket/prefix", spool=tmp_path) as store:
        for digest in stored:
            bucket.write(blob_key(digest), b"")

        asked: list[str] = []

        async def before(client: BucketRequests, name: str, key: str) -> None:
            del client
            asked.append(f"{name} {key}")

        bucket.before = before
        assert stored[:40] == list(await store.infos(stored[:40]))

    # The first page answers too few of them, and the rest are asked for: no request more than for each by itself.
    assert 1 == asked.count(f"list {BLOBS}")
    assert len(asked) <= 2 * 40


MANY = 200 + 13
"""Thirteen batches."""

EXPECTED = {
    "put, new": 2,
    "put, stored": 3,
    "put, stored, expected": 2,
    "put, a document": 3,
    "put, labels": 12,
    "exists": 1,
    "info": 2,
    "update": 11,
    "name, new": 4,
    "name, moved": 8,
    "lease": 3,
    "put, leased": 6,
    "put, leased again": 5,
    "walk": 3,
    "why": 14,
    "delete": 3,
    "collect, no garbage goes": 226,
    "collect, 201 go": 641,
    "put, new, once collected": 3,
    "put, stored, once collected": 4,
}
