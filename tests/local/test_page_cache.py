"""Verification reads every byte, and leaves the machine's page cache as it was."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from steelyard import Digest, LocalStore

pytestmark = pytest.mark.anyio

MIB = 1 << 20
PAGE = 4096
DONTCACHE = 0x80
"""A flag of reads that Linux has from 6.14 on, and Python no name for."""


def resident(path: Path) -> float:
    """Return which share of a file is in the page cache."""
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as pages:
        first = ctypes.c_char.from_buffer(pages)
        found = (ctypes.c_ubyte * -(-size // PAGE))()
        failed = ctypes.CDLL(None).mincore(ctypes.byref(first), ctypes.c_size_t(size), found)
        del first
    assert not failed
    return sum(page & 1 for page in found) / len(found)


def drop(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def can_spare(path: Path) -> bool:
    """Return whether this system and file system can leave the cache alone."""
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, DONTCACHE)
        except OSError:
            return False
    drop(path)
    return resident(path) == 0


async def test_a_verification_leaves_the_page_cache_as_it_was(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:

        async def stored(size: int) -> tuple[Digest, Path]:
            digest = (await store.put(os.urandom(size))).digest
            return digest, tmp_path / "blobs" / digest.algorithm / digest.encoded

        blobs = [await stored(size) for size in (4096, 4096, 2 * MIB, 2 * MIB)]
        if not can_spare(blobs[0][1]):
            pytest.skip("the system cannot leave the page cache alone")
        for _, path in blobs[::2]:
            path.read_bytes()
        for _, path in blobs[1::2]:
            drop(path)
        before = [resident(path) for _, path in blobs]

        async for checked in store.verify_all():
            assert checked.error is None
        await store.verify(blobs[3][0])

        assert [1, 0] * 2 == before
        assert before == [resident(path) for _, path in blobs]
