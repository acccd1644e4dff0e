"""Sources that a function opens at an offset."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest

from steelyard import MemoryStore
from steelyard.errors import InvalidArgument, Unreachable
from steelyard.fetch import fetch

from .conftest import QUICK
from .server import content

pytestmark = pytest.mark.anyio

DATA = content(3 << 20)


class Source:
    """Bytes that break off after 1 MiB of each opening."""

    def __init__(self, *, most: int = 1 << 20) -> None:
        self.offsets: list[int] = []
        self.most = most
        self.open = 0

    async def __call__(self, offset: int) -> AsyncIterator[bytes]:
        await anyio.lowlevel.checkpoint()
        self.offsets.append(offset)
        return self.read(offset)

    async def read(self, offset: int) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            for place in range(offset, len(DATA), 65536):
                if place - offset >= self.most:
                    raise ConnectionResetError
                await anyio.lowlevel.checkpoint()
                yield DATA[place : place + 65536]
        finally:
            self.open -= 1


async def test_a_source_is_opened_again_where_it_broke() -> None:
    source = Source()
    async with MemoryStore() as store:
        result = await fetch(store, open_at=source, ref="source", retries=QUICK)
        assert DATA == await store.get(result.digest)
    assert [0, 1 << 20, 2 << 20] == source.offsets
    assert 0 == source.open


async def test_a_ref_continues_in_another_fetch() -> None:
    source = Source(most=2 << 20)
    async with MemoryStore() as store:
        with anyio.CancelScope() as scope:
            await fetch(
                store, open_at=source, ref="mine", on_progress=lambda one: scope.cancel() if one.done > 1 << 20 else 0
            )
        (kept,) = await store.list_statuses()
        assert "mine" == kept.ref
        result = await fetch(store, open_at=source, ref="mine", retries=QUICK)
        assert DATA == await store.get(result.digest)
    assert kept.offset == source.offsets[1]
    assert 0 == source.open


async def test_without_a_ref_and_a_digest_each_attempt_begins_at_the_start() -> None:
    source = Source()
    async with MemoryStore() as store:
        with pytest.raises(Unreachable, match="a source: ConnectionResetError"):
            await fetch(store, open_at=source, retries=QUICK)
        assert [] == await store.list_statuses()
    assert {0} == set(source.offsets)


async def test_a_digest_is_enough() -> None:
    source = Source()
    async with MemoryStore() as store:
        expected = (await store.put(DATA)).digest
        await fetch(store, open_at=source, expected=expected)
        assert [] == source.offsets
        await store.delete(expected)
        await fetch(store, open_at=source, expected=expected, retries=QUICK)
    assert [0, 1 << 20, 2 << 20] == source.offsets


async def test_any_source_of_a_put_will_do() -> None:
    async def opened(offset: int) -> io.BytesIO:
        await anyio.lowlevel.checkpoint()
        return io.BytesIO(DATA[offset:])

    async with MemoryStore() as store:
        assert len(DATA) == (await fetch(store, open_at=opened, size=len(DATA))).size


async def test_another_error_of_the_source_is_raised() -> None:
    async def opened(offset: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        raise KeyError(offset)

    async with MemoryStore() as store:
        with pytest.raises(KeyError):
            await fetch(store, open_at=opened)


async def test_a_url_or_a_source_is_needed() -> None:
    async with MemoryStore() as store:
        with pytest.raises(InvalidArgument, match="and not both"):
            await fetch(store)
        with pytest.raises(InvalidArgument, match="and not both"):
            await fetch(store, "http://localhost/", open_at=Source())
