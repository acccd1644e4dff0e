"""How much one hop decompresses: what is there without a wait, and no more than a few pieces."""

from __future__ import annotations

import functools
import gzip
import random
from collections import deque
from typing import Self

import pytest
from support.archives import pieces

from steelyard._archive import Decompressed
from steelyard._runtime import calls
from steelyard.errors import InvalidArchive

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@functools.cache
def data() -> bytes:
    """Return the bytes; they are made when a test runs, not when it is collected."""
    return random.Random(1).randbytes(9 * MIB)


@functools.cache
def packed() -> bytes:
    """Return them compressed."""
    return gzip.compress(data(), 1)


class Source:
    """Gives pieces one by one, or all that are left."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = deque(data[start : start + size] for start in range(0, len(data), size))

    def ready(self) -> list[bytes]:
        taken = list(self._pieces)
        self._pieces.clear()
        return taken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.popleft()


@pytest.mark.parametrize("size", [1000, 64 << 10, MIB, 8 * MIB])
async def test_pieces_that_are_there_are_decompressed_in_one_hop(size: int) -> None:
    source = Source(packed(), size)
    stream = Decompressed(source, ready=source.ready)
    before = calls.counts()["hops"]

    out = [bytes(piece) async for piece in stream]

    assert data() == b"".join(out)
    assert calls.counts()["hops"] - before <= 5  # one piece first, then eight in a hop
    assert max(map(len, out)) <= MIB


async def test_what_was_read_before_a_damage_comes_before_its_error() -> None:
    start, end = 5 * MIB, 5 * MIB + 100_000
    damaged = packed()[:start] + bytes(byte ^ 255 for byte in packed()[start:end]) + packed()[end:]
    stream = Decompressed(pieces(damaged, 8 * MIB))
    found = b""

    with pytest.raises(InvalidArchive, match="damage"):  # noqa: PT012  # some pieces come first
        async for piece in stream:
            found += piece

    assert data()[: 4 * MIB] == found[: 4 * MIB]


async def test_no_more_is_taken_of_the_source_while_there_is_input() -> None:
    member = gzip.compress(bytes(9 * MIB))
    taken = 0

    def ready() -> list[bytes]:
        nonlocal taken
        taken += 2
        return [member, member]

    stream = Decompressed(pieces(member), ready=ready)
    for _ in range(9 * 4):
        assert bytes(MIB) == await anext(stream)

    assert 2 <= taken <= 6
