"""The budget of thread hops of a response from a `LocalStore`: a small one costs none once it was verified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from steelyard import LocalStore
from steelyard._runtime import calls
from steelyard.errors import OutOfRange
from steelyard.hashing import Hasher
from steelyard.web import BlobResponse

from .asking import ask
from .test_paths import OFFERED

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@contextmanager
def budget(hops: int) -> Iterator[None]:
    before = calls.counts()["hops"]
    yield
    assert hops == calls.counts()["hops"] - before


@pytest.fixture(autouse=True)
async def _cached_reads(local: LocalStore) -> None:
    """Skip where the file system has no reads that do not block, such as tmpfs."""
    async with local.reader_at((await local.put(b"probe")).digest) as reader:
        if reader._native.read_cached(0, 5) is None:
            pytest.skip("the file system has no non-blocking reads")


@pytest.mark.parametrize(("size", "first", "again"), [(1000, 1, 0), (MIB, 1, 0), (4 * MIB, 4, 4)])
async def test_a_whole_blob(local: LocalStore, size: int, first: int, again: int) -> None:
    app = BlobResponse(local, (await local.put(bytes(size))).digest)

    with budget(first):
        await ask(app)
    with budget(again):
        await ask(app)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", {}),
        ("PUT", {}),
        ("GET", {"If-None-Match": "*"}),
        ("GET", {"If-Match": '"x"'}),
        ("GET", {"Range": "bytes=99999999-"}),
        ("GET", {"Range": "bytes=0-99999"}),
        ("GET", {"Range": "bytes=0-9,100000-100009,200000-"}),
    ],
)
async def test_answers_that_need_no_thread(local: LocalStore, method: str, headers: dict[str, str]) -> None:
    app = BlobResponse(local, (await local.put(bytes(256 << 10))).digest)

    with budget(0):
        await ask(app, method, headers)


async def test_a_file_that_the_server_sends(local: LocalStore) -> None:
    app = BlobResponse(local, (await local.put(bytes(4 * MIB))).digest, verify=False)

    with budget(3):  # a lease, the blob in it, its path
        await ask(app, **OFFERED)
    with budget(0):
        await ask(app, **OFFERED)


async def test_a_reader_reads_and_hashes_in_one_hop(local: LocalStore) -> None:
    data = bytes(range(256)) * 8192
    digest = (await local.put(data)).digest
    hasher = Hasher()
    async with local.reader_at(digest) as reader:
        with budget(2):
            assert data[:MIB] == await reader.read_and_hash(0, MIB, hasher)
            assert data[MIB:] == await reader.read_and_hash(MIB, 5 * MIB, hasher)
        with pytest.raises(OutOfRange):
            await reader.read_and_hash(len(data) + 1, 1, hasher)

    assert digest == hasher.digest()
