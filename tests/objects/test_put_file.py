"""A large file without a ref is sent from itself, and what is stored has its digest also where the file changes meanwhile."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from steelyard.digest import Digest
from steelyard.errors import UnexpectedDigest, UnexpectedSize
from steelyard.model import Progress
from steelyard.objects import ObjectStore
from steelyard.objects._layout import blob_key
from steelyard.testing._values import data_of, digest_of

from .bucket import Bucket, BucketRequests

pytestmark = pytest.mark.anyio

SIZE = (17 << 20) + 5
DATA = data_of(SIZE, "large")
CHANGED = b"x" + DATA[1:]
SHORTER = DATA[:-1]
ADDRESS = "s3://bucket/prefix"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def stored(bucket: Bucket) -> dict[str, bytes]:
    """Return the blobs in the bucket, by their keys."""
    return {key: data for key, (data, _) in bucket.objects.items() if key.startswith("blobs/")}


def overwrite(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def overwrite_later(bucket: Bucket, file: Path, content: bytes) -> None:
    """Overwrite a file when its upload begins: it has been hashed, and no part has been read."""

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client, key
        if name == "begin":
            bucket.before = None
            overwrite(file, content)

    bucket.before = before


def only(data: bytes) -> dict[str, bytes]:
    return {blob_key(digest_of(data)): data}


@pytest.mark.parametrize("expected", [None, digest_of(DATA)], ids=["hashed", "known"])
async def test_nothing_of_it_is_in_the_spool(
    bucket: Bucket, file: Path, tmp_path: Path, expected: Digest | None
) -> None:
    held: list[int] = []
    requests: list[str] = []

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client, key
        requests.append(name)
        if name == "part":
            held.extend([status.offset for status in await store.list_statuses()])

    async with ObjectStore(ADDRESS, spool=tmp_path / "spool") as store:
        await store.put(b"first")  # which looks whether there are collections
        await store.delete(digest_of(b"first"))
        bucket.before = before
        result = await store.put(file, expected=expected)
        bucket.before = None
        again = await store.put(file, expected=expected)
        assert [] == await store.list_statuses()

    assert (digest_of(DATA), SIZE, True) == (result.digest, result.size, result.new)
    assert (digest_of(DATA), SIZE, False) == (again.digest, again.size, again.new)
    assert [0, 0, 0] == held
    assert ["head", "head", "begin", "part", "part", "part", "complete", "head", "list"] == requests
    assert only(DATA) == stored(bucket)


@pytest.mark.parametrize("changed", [CHANGED, SHORTER, DATA + b"x"], ids=["changed", "shorter", "longer"])
async def test_a_file_that_changes_before_it_is_sent_is_stored_as_it_is_then(
    bucket: Bucket, file: Path, tmp_path: Path, changed: bytes
) -> None:
    async with ObjectStore(ADDRESS, spool=tmp_path / "spool") as store:
        overwrite_later(bucket, file, changed)
        result = await store.put(file)
        assert [] == await store.list_statuses()

    # A file that only grew has the bytes that were hashed, and these are stored.
    there = DATA if len(changed) > SIZE else changed
    assert digest_of(there) == result.digest
    assert only(there) == stored(bucket)
    assert {} == bucket.uploads


@pytest.mark.parametrize("content", [CHANGED, SHORTER], ids=["changed", "shorter"])
async def test_a_file_without_the_expected_digest_is_refused(
    bucket: Bucket, file: Path, tmp_path: Path, content: bytes
) -> None:
    async with ObjectStore(ADDRESS, spool=tmp_path / "spool") as store:
        overwrite_later(bucket, file, content)
        with pytest.raises((UnexpectedDigest, UnexpectedSize)):
            await store.put(file, expected=digest_of(DATA), size=SIZE)
        assert [] == await store.list_statuses()

    assert {} == stored(bucket)
    assert {} == bucket.uploads


async def test_a_file_of_another_size_is_refused_before_a_request(bucket: Bucket, file: Path, tmp_path: Path) -> None:
    async with ObjectStore(ADDRESS, spool=tmp_path / "spool") as store:

        async def before(client: BucketRequests, name: str, key: str) -> None:
            raise AssertionError(f"{client.address}: {name} {key}")

        bucket.before = before
        with pytest.raises(UnexpectedSize):
            await store.put(file, size=SIZE + 1)
        bucket.before = None


async def test_a_put_that_is_cancelled_leaves_nothing(bucket: Bucket, file: Path, tmp_path: Path) -> None:
    async with ObjectStore(ADDRESS, spool=tmp_path / "spool") as store:
        with anyio.CancelScope() as scope:

            async def before(client: BucketRequests, name: str, key: str) -> None:
                del client, key
                if name == "part":
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()

            bucket.before = before
            await store.put(file)
        bucket.before = None
        assert [] == await store.list_statuses()

    assert scope.cancelled_caught
    assert {} == stored(bucket)
    assert {} == bucket.uploads


async def test_its_upload_is_noted_while_it_is_under_way(bucket: Bucket, file: Path, tmp_path: Path) -> None:
    """So what a crash leaves is known to be of this spool."""
    noted: list[set[str]] = []

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client, key
        if name == "part":
            noted.append(set(await store._require().uploads.noted()) & bucket.uploads.keys())

    async with ObjectStore(ADDRESS, spool=tmp_path / "spool") as store:
        bucket.before = before
        await store.put(file)
        bucket.before = None
        assert {} == await store._require().uploads.noted()

    assert 3 == len(noted)
    assert all(noted)


async def test_its_progress_is_reported(bucket: Bucket, file: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    async with ObjectStore(ADDRESS, spool=tmp_path / "spool") as store:
        await store.put(file, on_progress=told.append)
        assert only(DATA) == stored(bucket)

    assert {(str(file), SIZE)} == {(each.name, each.total) for each in told}
    assert "write" == told[0].phase
    assert ("commit", SIZE) == (told[-1].phase, told[-1].done)
    done = [each.done for each in told]
    assert sorted(done) == done
    assert {0, 8 << 20, 16 << 20, SIZE} == set(done)


@pytest.mark.parametrize("labels", [{}, {"a": "b"}])
async def test_an_object_that_is_removed_at_once_is_sent_again(
    bucket: Bucket, file: Path, tmp_path: Path, labels: dict[str, str]
) -> None:
    """A collection may remove it in place of an older one."""
    removed: list[object] = []

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client
        if name == "head" and key in bucket.objects and key.startswith("blobs/") and not removed:
            removed.append(bucket.objects.pop(key))

    async with ObjectStore("s3://bucket/prefix", spool=tmp_path / "spool") as store:
        bucket.before = before
        result = await store.put(file, labels=labels)
        bucket.before = None

        assert 1 == len(removed)
        assert result.new
        assert file.read_bytes() == await store.get(result.digest)  # noqa: ASYNC240
        assert labels == (await store.info(result.digest)).labels
