"""A part of a file as a source of `put`: those bytes and no others, on every store, resumed where it was left."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from steelyard import FileRange, LocalStore, MemoryStore, Store
from steelyard.errors import OutOfRange
from steelyard.hashing import digest_of

pytestmark = pytest.mark.anyio

CONTENT = random.Random(1).randbytes(3 << 20)


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store of each kind."""
    async with LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore() as store:
        yield store


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """Give the descriptor of a file, which stands somewhere."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    number = os.open(path, os.O_RDONLY)
    os.lseek(number, 5, os.SEEK_SET)
    yield number
    assert 5 == os.lseek(number, 0, os.SEEK_CUR)
    os.close(number)


@pytest.mark.parametrize(("offset", "size"), [(0, 3 << 20), (1000, 100), (1 << 20, (2 << 20) - 7), (7, 0)])
@pytest.mark.parametrize("ref", [None, "a ref"])
async def test_only_the_bytes_of_the_range_are_stored(
    store: Store, file: int, offset: int, size: int, ref: str | None
) -> None:
    result = await store.put(FileRange(file, offset, size), ref=ref)

    assert size == result.size
    assert CONTENT[offset : offset + size] == await store.get(result.digest)


async def test_a_range_goes_on_where_an_ingest_stopped(store: Store, file: int) -> None:
    wanted = CONTENT[100 : 100 + (2 << 20)]
    async with store.writer("a ref") as writer:
        await writer.write(wanted[: 1 << 20])

    result = await store.put(FileRange(file, 100, len(wanted)), expected=await digest_of(wanted), ref="a ref")

    assert result.new
    assert wanted == await store.get(result.digest)


async def test_a_file_that_ends_within_the_range_is_reported(store: Store, file: int) -> None:
    with pytest.raises(OutOfRange):
        await store.put(FileRange(file, 1 << 20, 3 << 20))

    assert [] == [info async for info in store.walk()]
    assert [] == await store.list_statuses()
