"""asyncio's own cancel, which anyio cannot repeat: a piece that its caller did not get, or give, is in no digest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from steelyard._runtime.opening import opening
from steelyard.base import BaseReader
from steelyard.containerd.remote import RemoteStore
from steelyard.containerd.service import Server
from steelyard.content import Writer
from steelyard.digest import Algorithm, Digest
from steelyard.hashing import Hasher
from steelyard.memory import MemoryStore
from steelyard.testing._values import data_of, digest_of

MIB = 1 << 20
TURNS = 12
"""The turns of the event loop after which a call is cancelled: by the last ones, a thread hashes."""


async def cancelled_after(turns: int, call: Callable[[], Awaitable[object]]) -> bool:
    """Make a call and cancel it after so many turns; return whether that was before its end."""

    async def made() -> None:
        await call()

    task = asyncio.ensure_future(made())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


class Reader(BaseReader):
    """A reader of bytes in memory."""

    @property
    def digest(self) -> Digest:
        return NAME

    @property
    def size(self) -> int:
        return len(DATA)

    async def read_at(self, offset: int, size: int) -> bytes:
        return DATA[offset : offset + size]

    async def aclose(self) -> None:
        """Do nothing."""


class Sha256Store(MemoryStore):
    """A store whose writers take no wish for another algorithm."""

    @opening
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Writer:
        del algorithm
        return await super().writer(ref, size=size, expected=expected)


DATA = data_of(2 * MIB)
NAME = digest_of(DATA)


@pytest.mark.parametrize("turns", range(1, TURNS))
def test_a_stream_goes_on_where_it_was(turns: int) -> None:
    async def main() -> None:
        async with Reader().stream() as stream:
            got = 0 if await cancelled_after(turns, lambda: stream.receive(MIB)) else MIB
            assert DATA[got:] == b"".join([piece async for piece in stream])

    asyncio.run(main())


@pytest.mark.parametrize("turns", range(1, TURNS))
def test_a_writer_that_hashes_here_has_what_it_accepted(short_path: Path, turns: int) -> None:
    async def main() -> None:
        async with (
            Sha256Store() as store,
            Server(store, short_path / "s") as server,
            RemoteStore(server.address) as remote,
            await remote.writer("r", algorithm=Algorithm.BLAKE3) as writer,
        ):
            await cancelled_after(turns, lambda: writer.write(DATA))
            hasher = Hasher(Algorithm.BLAKE3)
            hasher.update(DATA[: writer.offset])
            assert hasher.digest() == await writer.digest()

    asyncio.run(main())
