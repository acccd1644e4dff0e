"""The cache of `ObjectStore`, on a bucket in memory that counts requests."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from steelyard.digest import Digest
from steelyard.errors import CollectionRefused, DataCorrupt, InvalidArgument, NotFound, StorageFull
from steelyard.local import LocalStore
from steelyard.model import Descriptor
from steelyard.objects import ObjectStore
from steelyard.objects._layout import blob_key
from steelyard.testing import DamageContract, StoreContract
from steelyard.testing._collecting import AT_ONCE
from steelyard.testing._values import data_of, digest_of
from steelyard.transfer import copy, read_blob

from .bucket import PIECE, Bucket, BucketRequests
from .contract import ObjectsKeep

pytestmark = pytest.mark.anyio

SMALL = data_of(1000, "small")
LARGE = data_of(5 * PIECE + 17, "large")
PIECES = 6


class Asked:
    """The requests that a bucket was asked, by what they do and for which digest."""

    def __init__(self, bucket: Bucket) -> None:
        self._found: list[str] = []
        bucket.before = self._before

    async def _before(self, client: BucketRequests, name: str, key: str) -> None:
        del client
        if key.startswith("blobs/"):
            self._found.append(name)

    def take(self) -> list[str]:
        """Return the requests for blobs since the last call."""
        found, self._found = self._found, []
        return found


@pytest.fixture
def asked(bucket: Bucket) -> Asked:
    return Asked(bucket)


@pytest.fixture
def opened(bucket: Bucket, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that opens a store with a cache."""
    del bucket

    def open_store(**options: Any) -> ObjectStore:
        return ObjectStore("s3://bucket/prefix", spool=tmp_path / "spool", cache=tmp_path / "cache", **options)

    return open_store


async def stored(store: ObjectStore) -> None:
    """Store the blobs of the tests."""
    for data in (SMALL, LARGE):
        await store.put(data)


async def ranges(store: ObjectStore, data: bytes) -> None:
    """Read a blob in ranges."""
    async with store.reader_at(digest_of(data)) as reader:
        assert data[3:50] == await reader.read_at(3, 47)
        assert data[-10:] == await reader.read_at(len(data) - 10, 20)


READS: dict[str, Callable[[ObjectStore, bytes], Awaitable[object]]] = {
    "get": lambda store, data: store.get(digest_of(data)),
    "stream": lambda store, data: read_blob(store, digest_of(data)),
    "ranges": ranges,
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_a_blob_that_was_read_is_read_without_a_request(
    opened: Callable[..., Any], asked: Asked, read: str, data: bytes
) -> None:
    async with opened() as store:
        await stored(store)
        asked.take()
        await READS[read](store, data)
        assert asked.take()
        if read != "ranges" or data is SMALL:  # ranges of a large blob do not download it
            for again in READS.values():
                await again(store, data)
            assert [] == asked.take()
    async with opened() as store:
        if read != "ranges" or data is SMALL:
            assert data == await store.get(digest_of(data))
            assert [] == asked.take()


@pytest.mark.parametrize("read", ["get", "stream"])
async def test_one_task_downloads_for_all_that_wait(opened: Callable[..., Any], asked: Asked, read: str) -> None:
    found = []

    async def task(store: ObjectStore) -> None:
        found.append(await READS[read](store, LARGE))

    async with opened() as store:
        await stored(store)
        asked.take()
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(task, store)

    assert [LARGE] * 20 == found
    requests = asked.take()
    assert 20 >= requests.count("head")
    # The whole blob once; `get` first asks for as much as most blobs have.
    assert 1 + (read == "get") == requests.count("get")


async def test_a_download_goes_on_where_a_cancelled_one_has_ended(
    opened: Callable[..., Any], bucket: Bucket, asked: Asked
) -> None:
    async with opened() as store:
        await stored(store)
    asked.take()
    scope = anyio.CancelScope()
    count = 0

    async def stop(client: BucketRequests, name: str, key: str) -> None:
        nonlocal count
        del client, name
        count += key.startswith("blobs/")
        if count == 4:  # a HEAD, and two pieces are there
            scope.cancel()

    bucket.before = stop
    async with opened() as store:
        with scope:
            await read_blob(store, digest_of(LARGE))
        assert scope.cancelled_caught
    again = Asked(bucket)
    async with opened() as store:
        assert LARGE == await read_blob(store, digest_of(LARGE))
        requests = again.take()
        assert (1, PIECES - 3) == (requests.count("get"), requests.count("receive"))


async def test_a_cache_keeps_its_budget(opened: Callable[..., Any], asked: Asked, tmp_path: Path) -> None:
    blobs = [data_of(10_000, number) for number in range(40)]
    async with opened(cache_bytes=100_000) as store:
        for data in blobs:
            await store.put(data)
            await store.get(digest_of(data))
        asked.take()
        assert blobs[-1] == await store.get(digest_of(blobs[-1]))
        assert [] == asked.take()
        assert blobs[0] == await store.get(digest_of(blobs[0]))
        assert ["get"] == asked.take()
    async with LocalStore(tmp_path / "cache" / "cache") as local:
        stats = await local.stats()
    assert 0 < stats.blob_bytes <= 100_000


@pytest.mark.parametrize("read", ["get", "stream"])
async def test_a_blob_above_the_budget_comes_from_the_server(
    opened: Callable[..., Any], asked: Asked, read: str
) -> None:
    async with opened(cache_bytes=len(LARGE) - 1) as store:
        await stored(store)
        for _ in range(2):
            asked.take()
            await READS[read](store, LARGE)
            assert 1 + (read == "get") == asked.take().count("get")


async def test_a_blob_that_is_deleted_here_is_not_read(opened: Callable[..., Any], bucket: Bucket) -> None:
    async with opened() as store:
        await stored(store)
        for data in (SMALL, LARGE):
            await store.get(digest_of(data))
        await store.delete(digest_of(SMALL))
        with pytest.raises(NotFound):
            await store.get(digest_of(SMALL))
        await store.collect(grace=AT_ONCE)
        with pytest.raises(NotFound):
            await store.get(digest_of(LARGE))

        await stored(store)
        await store.get(digest_of(SMALL))
        bucket.write(f"blobs/sha256/{digest_of(SMALL).encoded}", b"damaged")
        assert SMALL == await store.get(digest_of(SMALL))
        with pytest.raises(DataCorrupt):
            await store.verify(digest_of(SMALL))
        with pytest.raises(NotFound):
            await store.get(digest_of(SMALL))


async def test_damage_at_the_server_is_not_kept(opened: Callable[..., Any], bucket: Bucket) -> None:
    async with opened() as store:
        await stored(store)
        right = dict(bucket.objects)
        for data in (SMALL, LARGE):
            bucket.write(blob_key(digest_of(data)), data[:-1] + b"?")
            for read in ("get", "stream"):
                with pytest.raises(DataCorrupt):
                    await READS[read](store, data)
        bucket.objects.update(right)
        for data in (SMALL, LARGE):
            assert data == await read_blob(store, digest_of(data))


async def test_damage_in_the_cache_is_read_once(opened: Callable[..., Any], tmp_path: Path) -> None:
    async with opened() as store:
        await stored(store)
        for data in (SMALL, LARGE):
            digest = digest_of(data)
            file = tmp_path / "cache" / "cache" / "blobs" / "sha256" / digest.encoded

            def damage(file: Path = file, data: bytes = data) -> None:
                file.chmod(0o600)
                file.write_bytes(data[:-1] + b"?")

            await store.get(digest)
            damage()
            assert data == await store.get(digest)  # `get` returns verified bytes only
            damage()
            with pytest.raises(DataCorrupt):  # and a stream tells at its end
                await read_blob(store, digest)
            assert data == await read_blob(store, digest)
            file.write_bytes(b"shorter")
            assert data == await read_blob(store, Descriptor(digest=digest, size=len(data)))


async def test_a_full_cache_fails_no_read(
    opened: Callable[..., Any], asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*arguments: Any, **options: Any) -> None:
        del arguments, options
        raise StorageFull(errno.ENOSPC, operation="write")

    async with opened() as store:
        await stored(store)
        monkeypatch.setattr(LocalStore, "put", full)
        monkeypatch.setattr(LocalStore, "writer", full)
        for data in (LARGE, SMALL):
            for read in READS.values():
                await read(store, data)
        monkeypatch.undo()
        asked.take()
        assert SMALL == await store.get(digest_of(SMALL))  # it is left alone for a while
        assert ["get"] == asked.take()


HOLDER = """
import sys
from steelyard.local.blocking import BlockingStore, OpenOptions
from steelyard.options import IngestOptions
store = BlockingStore.open(OpenOptions.parse(sys.argv[1]))
ingest = store.ingest(IngestOptions.parse(sys.argv[2]))
print("holds", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(root: Path, ref: str) -> Iterator[None]:
    """Have another process hold a ref and do nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, root, ref], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    try:
        assert b"holds\n" == process.stdout.readline()
        yield
    finally:
        process.communicate()


async def test_processes_that_share_a_new_cache_keep_its_budget(
    opened: Callable[..., Any], asked: Asked, tmp_path: Path
) -> None:
    async with opened(cache_bytes=3000) as store, LocalStore(tmp_path / "cache" / "cache") as local:
        digests = [(await store.put(data_of(1000, number))).digest for number in range(6)]
        for digest in digests:
            await store.get(digest)

        assert (await local.stats()).blob_bytes <= 3000
        asked.take()
        await store.get(digests[-1])
        assert [] == asked.take()


async def test_a_cache_that_cannot_be_collected_fails_no_read(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def collect(self: LocalStore, **_: object) -> None:
        raise CollectionRefused(str(self.path), cause="open", reason="other processes have the store open")

    monkeypatch.setattr(LocalStore, "collect", collect)
    async with opened(cache_bytes=3000) as store:
        for number in range(6):
            data = data_of(1000, number)
            assert data == await store.get((await store.put(data)).digest)
            assert data == await read_blob(store, digest_of(data))


async def test_a_cache_whose_metadata_is_lost_keeps_its_budget(opened: Callable[..., Any], tmp_path: Path) -> None:
    local = tmp_path / "cache" / "cache"
    async with opened(cache_bytes=3000) as store:
        digests = [(await store.put(data_of(1000, number))).digest for number in range(6)]
        await store.get(digests[0])
    for file in local.glob("meta.db*"):
        file.unlink()
    async with opened(cache_bytes=3000) as store:
        for digest in digests:
            await store.get(digest)
    async with LocalStore(local) as cached:
        assert await cached.exists(digests[-1])


async def test_a_stalled_process_does_not_hold_up_a_read(
    opened: Callable[..., Any], asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steelyard.objects._cache._STALLED_SECONDS", 0.2)
    async with opened() as store:
        await stored(store)
        with held_by_another_process(tmp_path / "cache" / "cache", f"copy-{digest_of(LARGE)}"):
            asked.take()
            assert LARGE == await read_blob(store, digest_of(LARGE))
            assert 1 == asked.take().count("get")


async def test_a_copy_to_another_store_takes_one_request(bucket: Bucket, tmp_path: Path) -> None:
    asked = Asked(bucket)
    async with (
        ObjectStore("s3://bucket/prefix", spool=tmp_path / "spool") as store,
        LocalStore(tmp_path / "local") as local,
    ):
        await stored(store)
        asked.take()
        await copy(store, digest_of(LARGE), local)
        assert ["head", "get"] + ["receive"] * (PIECES - 1) == asked.take()
        assert LARGE == await local.get(digest_of(LARGE))


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        ObjectStore("s3://bucket", cache=".", cache_bytes=-1)


class TestCachedObjectStore(ObjectsKeep, StoreContract, DamageContract):
    """Some of the contract with a cache that is read before and after each change."""

    one_of = 6
    stride = 10_000

    @pytest.fixture
    async def store(self, opened: Callable[..., Any], bucket: Bucket) -> AsyncIterator[Any]:
        self.bucket = bucket
        async with opened() as store:
            yield store

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def damage(self, store: Any, digest: Digest, data: bytes) -> None:
        del store
        self.bucket.write(blob_key(digest), data, is_ours=False)
