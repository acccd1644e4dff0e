"""Objects below the prefix that no store has written: others leave them alone, and damaged ones are typed errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from steelyard.errors import DataCorrupt, NotFound, StorageError
from steelyard.model import Descriptor, Labels
from steelyard.objects import ObjectStore
from steelyard.objects._layout import document_key

from .bucket import Bucket

pytestmark = pytest.mark.anyio

DEEP = b"[" * 100_000 + b"]" * 100_000
IDS = ["one", "two", "three", "four"]
HOUR = timedelta(hours=1)


@pytest.fixture
async def store(bucket: Bucket, keys: None, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    del bucket, keys
    async with ObjectStore("s3://bucket", spool=tmp_path / "spool") as opened:
        yield opened


async def test_objects_of_other_programs_beside_records_are_left_alone(store: ObjectStore, bucket: Bucket) -> None:
    result = await store.put(b"data", labels={"k": "v"})
    await store.images.create("name", Descriptor(digest=result.digest))
    await store.leases.create("lease", expires=HOUR)
    await store.leases.add("lease", digests=[result.digest], refs=["ref"])
    await store.set_collect_defaults(grace=HOUR)
    records = [key.rpartition("/")[0] for key in bucket.objects if key.startswith(("images/", "labels/", "lease", "s"))]
    foreign = [f"{record}/{name}" for record in records for name in ("", "README", "zzz/9")]
    foreign += [f"{kind}/{name}" for kind in ("images", "labels", "leases", "leased", "settings") for name in ("", "x")]
    for key in foreign:
        bucket.write(key, b"hello")

    image = await store.images.update(
        msgspec.structs.replace(await store.images.get("name"), labels=Labels({"a": "b"}))
    )
    await store.update(msgspec.structs.replace(await store.info(result.digest), labels=Labels({"a": "b"})))
    collected = await store.collect(grace=timedelta(0))

    assert [image] == await store.images.list()
    assert ["lease"] == [lease.id for lease in await store.leases.list()]
    assert ({result.digest}, {"ref"}) == tuple(map(set, msgspec.structs.astuple(await store.leases.resources("lease"))))
    assert [{"a": "b"}] == [info.labels async for info in store.walk()]
    assert 0 == collected.blobs
    assert bucket.objects.keys() >= set(foreign)


async def _list_names(store: ObjectStore) -> Any:
    return await store.images.list()


async def _list_leases(store: ObjectStore) -> Any:
    return await store.leases.list()


async def _collect(store: ObjectStore) -> Any:
    return await store.collect()


CHANGES: list[tuple[str, Any, dict[str, Any]]] = [
    ("images/", _list_names, {"created_at": "2026-01-01T00:00:00"}),
    ("images/", _list_names, {"updated_at": "9999-12-31T23:59:59.999999Z"}),
    ("images/", _list_names, {"digest": "sha256:xyz"}),
    ("images/", _list_names, {"size": -1}),
    ("images/", _list_names, {"labels": {"k": "v" * 5000}}),
    ("leases/", _list_leases, {"expires": 1e300}),
    ("leases/", _list_leases, {"created_at": "2026-01-01T00:00:00"}),
    ("settings/", _collect, {"grace": 10**20}),
    ("settings/", _collect, {"ingest_age": -1}),
]


@pytest.mark.parametrize(("prefix", "call", "change"), CHANGES, ids=map(str, range(len(CHANGES))))
async def test_a_value_that_no_store_has_written_is_damage(
    store: ObjectStore, bucket: Bucket, prefix: str, call: Any, change: dict[str, Any]
) -> None:
    await store.images.create("name", Descriptor(digest=(await store.put(b"data")).digest))
    await store.leases.create("lease", expires=HOUR)
    await store.set_collect_defaults(grace=HOUR)
    (key,) = [key for key in bucket.objects if key.startswith(prefix)]
    content = json.loads(bucket.objects[key][0])
    bucket.write(key, json.dumps(content | {"value": content["value"] | change}).encode())

    with pytest.raises(DataCorrupt, match=key):
        await call(store)


@pytest.mark.parametrize("content", [b"", b"\xff", DEEP, b'{"id": "a", "value": ' + DEEP + b"}"], ids=IDS)
async def test_a_record_that_is_no_json_is_damage(store: ObjectStore, bucket: Bucket, content: bytes) -> None:
    bucket.write("images/a/0000000000000001", content)

    with pytest.raises(DataCorrupt, match="images/a/"):
        await store.images.list()


@pytest.mark.parametrize("content", [b"{", DEEP, b'{"blobs": ["sha256:xyz"]}'], ids=IDS[:3])
async def test_damage_of_what_a_document_names_removes_nothing(
    store: ObjectStore, bucket: Bucket, content: bytes
) -> None:
    digest = (await store.put(b"data")).digest
    bucket.write(document_key(digest), content)

    with pytest.raises(DataCorrupt, match="documents/"):
        await store.collect(grace=timedelta(0))
    assert await store.exists(digest)


@pytest.mark.parametrize("content", [b"", b"{}", DEEP, b'[["stored"]]'], ids=IDS)
async def test_damaged_notes_of_a_writer_remove_nothing(store: ObjectStore, bucket: Bucket, content: bytes) -> None:
    digest = (await store.put(b"data")).digest

    async def before(client: object, name: str, key: str) -> None:
        del client
        if name == "put" and "/batch-" in key:
            bucket.write("protected/0000000000000001/a", content)

    bucket.before = before
    with pytest.raises(DataCorrupt, match="protected/"):
        await store.collect(grace=timedelta(0))
    assert await store.exists(digest)


@pytest.mark.parametrize("content", [b"", b"{}", DEEP], ids=IDS[:3])
async def test_a_damaged_batch_is_an_error_of_the_writer(store: ObjectStore, bucket: Bucket, content: bytes) -> None:
    bucket.write("collecting/0000000000000001/batch-00000001", content)

    with pytest.raises(DataCorrupt, match="batch-"):
        await store.put(b"data")


@pytest.mark.parametrize("content", [b"", b"{}", DEEP], ids=IDS[:3])
async def test_a_damaged_marker_opens_no_store(bucket: Bucket, keys: None, tmp_path: Path, content: bytes) -> None:
    del keys
    bucket.write("steelyard.json", content)

    with pytest.raises(DataCorrupt, match=r"steelyard\.json"):
        await ObjectStore("s3://bucket", spool=tmp_path).aopen()


@pytest.mark.parametrize("spool", ["file/spool", "nu\0ll"], ids=IDS[:2])
async def test_a_spool_that_cannot_be_is_an_error_of_the_storage(
    bucket: Bucket, keys: None, tmp_path: Path, spool: str
) -> None:
    del bucket, keys
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageError) as raised:
        await ObjectStore("s3://bucket", spool=str(tmp_path / spool)).aopen()
    assert str(tmp_path / spool) in str(raised.value.path)
    with pytest.raises(NotFound):
        await ObjectStore("s3://bucket", spool=str(tmp_path / spool), read_only=True).aopen()


async def test_files_of_the_spool_that_cannot_be_read_are_errors_of_the_storage(
    store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "spool" / "verified").mkdir()
    (tmp_path / "spool" / "uploads").write_bytes(b"")
    async with store.writer("ref") as writer:
        await writer.write(b"data")

    for resume in (True, False):
        with pytest.raises(StorageError, match="verified"):
            _ = [result async for result in store.verify_all(resume=resume)]
    with pytest.raises(StorageError, match="uploads"):
        _ = [upload async for upload in store.abort_uploads()]
    with pytest.raises(StorageError, match="uploads"):
        await store.abort("ref")
