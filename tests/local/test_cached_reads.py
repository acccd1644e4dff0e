"""Reads of what the kernel has in memory: no hop, and the same results as with one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from support.disks import has_cached_reads
from support.stalls import runs_of_another_task

from steelyard._runtime import calls
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, FailedPrecondition, NotFound, OutOfRange
from steelyard.local import LocalStore
from steelyard.local.reader import AT_ONCE

pytestmark = pytest.mark.anyio

BYTES = bytes(range(256)) * (3 * AT_ONCE // 256)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    async with LocalStore(tmp_path / "store") as store:
        yield store


@pytest.fixture
async def digest(store: LocalStore) -> Digest:
    return (await store.put(BYTES)).digest


@pytest.fixture
def shows_cache(tmp_path: Path) -> None:
    """Skip where the file system does not say what it has in memory, as tmpfs: there every read takes a hop."""
    if not has_cached_reads(tmp_path):
        pytest.skip("the file system lacks RWF_NOWAIT")


def hops() -> int:
    return calls.counts()["hops"]


def file(store: LocalStore, digest: Digest) -> Path:
    return store.path / "blobs" / digest.algorithm / digest.encoded


@pytest.mark.usefixtures("shows_cache")
async def test_a_cached_range_takes_no_hop(store: LocalStore, digest: Digest) -> None:
    async with store.reader_at(digest) as reader:
        before = hops()
        memory = bytearray(1000)
        ranges = [await reader.read_at(offset, AT_ONCE) for offset in (0, 1, AT_ONCE, len(BYTES) - 10, len(BYTES))]
        filled = await reader.readinto_at(5, memory)

        assert ranges == [
            BYTES[:AT_ONCE],
            BYTES[1 : AT_ONCE + 1],
            BYTES[AT_ONCE : 2 * AT_ONCE],
            BYTES[-10:],
            b"",
        ]
        assert (filled, bytes(memory)) == (1000, BYTES[5:1005])
        assert hops() == before


async def test_a_long_range_takes_one(store: LocalStore, digest: Digest) -> None:
    async with store.reader_at(digest) as reader:
        before = hops()

        assert await reader.read_at(0, AT_ONCE + 1) == BYTES[: AT_ONCE + 1]
        assert hops() == before + 1


async def test_what_is_not_in_memory_comes_from_the_disk(store: LocalStore, digest: Digest) -> None:
    async with store.reader_at(digest) as reader:
        # Where the file system has no disk behind it, nothing is dropped, and this says only that nothing changes.
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        assert await reader.read_at(AT_ONCE, 1000) == BYTES[AT_ONCE : AT_ONCE + 1000]


async def test_an_open_takes_no_trip_and_still_sees_that_another_store_deleted(
    store: LocalStore, digest: Digest
) -> None:
    async with store.reader_at(digest):
        pass
    before = hops()
    async with store.reader_at(digest):
        pass
    opened = hops() - before
    async with LocalStore(store.path) as other:
        await other.delete(digest)

    with pytest.raises(NotFound):
        await store.reader_at(digest)
    assert opened == 0


@pytest.mark.usefixtures("shows_cache")
async def test_a_small_blob_is_verified_without_a_trip(store: LocalStore) -> None:
    digest = (await store.put(b"small")).digest
    await store.get(digest)
    before = hops()

    assert await store.get(digest) == b"small"
    assert hops() == before


async def test_a_small_damaged_blob_is_no_success(store: LocalStore) -> None:
    digest = (await store.put(b"small")).digest
    file(store, digest).chmod(0o644)
    file(store, digest).write_bytes(b"sm\0ll")

    with pytest.raises(DataCorrupt) as caught:
        await store.get(digest)
    assert caught.value.expected == str(digest)


async def test_a_blob_that_was_cut_is_no_short_read(store: LocalStore, digest: Digest) -> None:
    async with store.reader_at(digest) as reader:
        file(store, digest).chmod(0o644)
        os.truncate(file(store, digest), 100)

        with pytest.raises(DataCorrupt):
            await reader.read_at(50, 100)
        with pytest.raises(OutOfRange):
            await reader.read_at(len(BYTES) + 1, 1)


async def test_a_closed_reader_gives_nothing(store: LocalStore, digest: Digest) -> None:
    reader = await store.reader_at(digest)
    await reader.aclose()

    with pytest.raises(FailedPrecondition):
        await reader.read_at(0, 10)
    with pytest.raises(FailedPrecondition):
        await reader.readinto_at(0, bytearray(10))


async def test_a_reader_that_is_cancelled_writes_nothing(store: LocalStore, digest: Digest) -> None:
    memory = bytearray(10)
    async with store.reader_at(digest) as reader:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await reader.readinto_at(10, memory)

    assert scope.cancelled_caught
    assert memory == bytearray(10)


async def test_others_get_their_turn_between_cached_reads(store: LocalStore, digest: Digest) -> None:
    async def read() -> None:
        for _ in range(50):
            await reader.read_at(0, 10)

    async with store.reader_at(digest) as reader:
        assert await runs_of_another_task(read()) >= 40


async def test_the_last_close_of_a_deleted_blob_is_left_to_a_thread(store: LocalStore, digest: Digest) -> None:
    """It frees the file, which takes as long as the file is large."""
    reader = await store.reader_at(digest)
    kept = await store.reader_at(digest)
    before = hops()
    await reader.aclose()
    without = hops() - before
    await store.delete(digest)
    before = hops()
    await kept.aclose()

    assert (without, hops() - before) == (0, 1)
