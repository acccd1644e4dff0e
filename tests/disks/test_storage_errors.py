"""Disks that are full, and disks that are read-only: real file systems, mounted for the test where that is allowed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from steelyard import LocalStore, NotFound, StorageError, StorageFull

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a file system: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        # Lazily: the frames of an expected error may hold a descriptor a little longer than the test.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def blobs(disk: Path) -> list[Path]:
    return sorted(path for path in (disk / "store" / "blobs").rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [64 << 10, 9 * MIB], ids=["one hop", "an ingest"])
async def test_a_full_disk_refuses_new_blobs_and_nothing_else(small_disk: Path, size: int) -> None:
    async with LocalStore(small_disk / "store") as store:
        first = await store.put(b"first", labels={"kept": "yes"})
        stored = {first.digest: b"first"}
        with pytest.raises(StorageFull) as refusal:  # noqa: PT012  # how many fit is not the question
            while True:
                data = os.urandom(size)
                stored[(await store.put(data)).digest] = data

        assert refusal.value.errno == errno.ENOSPC
        assert str(refusal.value.filename).startswith(str(small_disk))
        assert {path.name for path in blobs(small_disk)} == {digest.encoded for digest in stored}

        for digest, data in stored.items():
            assert await store.get(digest) == data

        assert (await store.info(first.digest)).labels == {"kept": "yes"}

        for digest in stored:
            await store.delete(digest)

        assert blobs(small_disk) == []

        assert (await store.put(os.urandom(MIB))).new


async def test_an_ingest_that_fills_the_disk_goes_on_when_there_is_room(small_disk: Path) -> None:
    data = os.urandom(5 * MIB)
    async with LocalStore(small_disk / "store") as store:
        ballast = (await store.put(os.urandom(3 * MIB))).digest
        with pytest.raises(StorageFull):
            await store.put([data[start : start + MIB] for start in range(0, len(data), MIB)], ref="upload")

        kept = (await store.status("upload")).offset

        assert kept <= 3 * MIB

        await store.delete(ballast)
        result = await store.put([data[start : start + MIB] for start in range(0, len(data), MIB)], ref="upload")

        assert result.new
        assert await store.get(result.digest) == data

        with pytest.raises(NotFound):
            await store.status("upload")


async def test_a_read_only_disk_is_read_and_never_written(small_disk: Path) -> None:
    async with LocalStore(small_disk / "store") as store:
        digest = (await store.put(b"written before", labels={"a": "b"})).digest
    remount(small_disk, "ro")
    try:
        with pytest.raises(StorageError) as refusal:
            async with LocalStore(small_disk / "store"):
                pass

        assert refusal.value.errno == errno.EROFS

        async with LocalStore(small_disk / "store", read_only=True) as store:
            assert await store.get(digest) == b"written before"
            assert [info.labels async for info in store.walk("labels.a==b")] == [{"a": "b"}]

            with pytest.raises(StorageError):
                await store.put(b"more")
            with pytest.raises(StorageError):
                await store.delete(digest)
    finally:
        remount(small_disk, "rw")


async def test_the_command_says_that_the_disk_is_full(small_disk: Path) -> None:
    large = small_disk.parent / "large"
    large.write_bytes(os.urandom(9 * MIB))
    ended = subprocess.run(  # noqa: ASYNC221  # nothing else runs in this loop
        [sys.executable, "-m", "steelyard", "--store", str(small_disk / "store"), "put", str(large)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 9
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
