"""Reading a stream ahead: its bound on bytes, the pieces that are ready, and the errors of the source."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from steelyard.images.importing._read_ahead import read_ahead

pytestmark = pytest.mark.anyio

MIB = 1 << 20


class Source:
    """Gives pieces of one size for ever and never waits, or raises after some."""

    def __init__(self, size: int, *, fails_after: int | None = None) -> None:
        self.given = 0
        self._piece = bytes(size)
        self._fails_after = fails_after

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.given == self._fails_after:
            raise OSError("the line dropped")
        self.given += 1
        return self._piece


@pytest.mark.parametrize(("size", "most"), [(MIB, 4), (3 * MIB, 2), (9 * MIB, 1), (1, 4093), (0, 4096)])
async def test_the_source_is_read_on_while_little_waits(size: int, most: int) -> None:
    source = Source(size)
    async with read_ahead(source) as pieces:
        await anyio.wait_all_tasks_blocked()
        assert most == source.given

        assert [bytes(size)] * most == pieces.ready()
        assert [] == pieces.ready()
        await anyio.wait_all_tasks_blocked()
        assert most * 2 == source.given

        assert bytes(size) == await anext(aiter(pieces))
        await anyio.wait_all_tasks_blocked()
        assert most * 2 + 1 == source.given


async def test_an_error_of_the_source_comes_after_its_pieces() -> None:
    async with read_ahead(Source(10, fails_after=2)) as pieces:
        await anyio.wait_all_tasks_blocked()
        assert bytes(10) == await anext(aiter(pieces))
        assert [bytes(10)] == pieces.ready()
        for _ in range(2):
            with pytest.raises(OSError, match="the line dropped"):
                await anext(aiter(pieces))


async def test_a_reader_waits_for_the_next_piece_and_for_the_end() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](0)
    found: list[object] = []

    async with receive, read_ahead(receive) as pieces, anyio.create_task_group() as tasks:

        async def read() -> None:
            async for piece in pieces:
                found.append(piece)  # noqa: PERF401  # one after the other
            found.append("end")

        tasks.start_soon(read)
        async with send:
            for word in (b"one", b"two"):
                await send.send(word)
                await anyio.wait_all_tasks_blocked()
                assert word == found[-1]

    assert [b"one", b"two", "end"] == found
