"""Writers that are given small pieces: taken at once, written and hashed behind them, with bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from steelyard import Algorithm, InvalidArgument, LocalStore, write_blob
from steelyard._runtime import calls
from steelyard.errors import Aborted
from steelyard.model import Buffer
from steelyard.testing._steps import every_wait

pytestmark = pytest.mark.anyio

KIB = 1 << 10
PIECE = 60_000


@pytest.fixture
def source() -> bytes:
    return os.urandom(1 << 20)


@pytest.fixture
def tight(tmp_path: Path) -> LocalStore:
    """A store whose writers have room for a few pieces, so that they wait now and then."""
    return LocalStore(tmp_path / "store", durability="process-crash", write_buffer_bytes=512 * KIB)


def sha256(data: Buffer) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _any_kind(piece: memoryview, choice: random.Random) -> Buffer:
    kinds: list[Buffer] = [piece, bytes(piece), bytearray(piece)]
    return choice.choice(kinds)


async def test_writes_that_fit_need_no_thread(tmp_path: Path, source: bytes) -> None:
    async with LocalStore(tmp_path / "store") as store, store.writer("ref") as writer:
        before = calls.counts()["hops"]
        for start in range(0, 512 * KIB, 64 * KIB):
            await writer.write(source[start : start + 64 * KIB])

        assert before == calls.counts()["hops"]
        assert sha256(source[: 512 * KIB]) == str(await writer.digest())


async def test_leaving_a_writer_after_its_commit_takes_no_hop(tmp_path: Path) -> None:
    """The hop of the commit closes the ingest."""
    async with LocalStore(tmp_path / "store") as store:
        async with store.writer("ref") as writer:
            await writer.write(b"data")
            await writer.commit()
            before = calls.counts()["hops"]
        await writer.aclose()

        assert before == calls.counts()["hops"]
        async with store.writer("ref") as again:
            assert 0 == again.offset


async def test_what_the_caller_changes_after_a_write_is_not_stored(tmp_path: Path, source: bytes) -> None:
    async with LocalStore(tmp_path / "store") as store, store.writer("ref") as writer:
        for size in (10, 20_000, 300_000):
            for is_view in (False, True):
                data = bytearray(source[:size])
                piece: Buffer = memoryview(data) if is_view else data
                await writer.write(piece)
                data[:] = bytes(size)

        expected = b"".join(source[:size] * 2 for size in (10, 20_000, 300_000))
        assert sha256(expected) == str(await writer.digest())


@pytest.mark.slow
@pytest.mark.parametrize("write_buffer_bytes", [0, 100_000, 2 << 20, 128 << 20])
async def test_many_writers_at_once_store_what_each_was_given(
    tmp_path: Path, source: bytes, write_buffer_bytes: int
) -> None:
    async def write(number: int) -> None:
        choice, pieces = random.Random(number), []
        algorithm = Algorithm.SHA256 if number % 3 else Algorithm.SHA512
        async with store.writer(f"{number}", algorithm=algorithm) as writer:
            for _ in range(12):
                start, size = choice.randrange(700_000), choice.choice([50, 9000, 65_536, 65_536, 200_000, 300_000])
                piece = memoryview(source)[start : start + size]
                pieces.append(piece)
                await writer.write(_any_kind(piece, choice))
            data = b"".join(pieces)
            expected = f"{algorithm}:{hashlib.new(str(algorithm), data).hexdigest()}"
            await writer.commit(size=len(data), expected=expected)
        assert data == await store.get(expected)

    async with (
        LocalStore(tmp_path / "store", durability="process-crash", write_buffer_bytes=write_buffer_bytes) as store,
        anyio.create_task_group() as tasks,
    ):
        for number in range(24):
            tasks.start_soon(write, number)


async def test_a_wait_for_room_that_is_cancelled_accepts_all_or_nothing(tight: LocalStore, source: bytes) -> None:
    async def run(step: int) -> None:
        async with tight.writer(f"{step}") as writer:
            for start in range(0, 16 * PIECE, PIECE):
                await writer.write(source[start : start + PIECE])

    async with tight:
        async for step in every_wait(run):
            async with tight.writer(f"{step}") as writer:
                assert 0 == writer.offset % PIECE
                assert sha256(source[: writer.offset]) == str(await writer.digest())


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_cancelled_anywhere_leaves_whole_pieces(tight: LocalStore, source: bytes) -> None:
    async def write() -> None:
        while True:
            start = writer.offset % (10 * PIECE)
            await writer.write(source[start : start + PIECE])

    async with tight, tight.writer("ref") as writer:
        for steps in range(30):
            task = asyncio.create_task(write())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        whole, rest = divmod(writer.offset, 10 * PIECE)
        expected = source[: 10 * PIECE] * whole + source[:rest]

        assert 0 == rest % PIECE
        assert sha256(expected) == str((await writer.commit(size=len(expected))).digest)


async def test_an_abort_ends_a_writer_that_waits_for_room(tight: LocalStore, source: bytes) -> None:
    async with tight, tight.writer("ref") as writer, anyio.create_task_group() as tasks:

        async def write() -> None:
            while True:
                await writer.write(source[:PIECE])

        async def expect_the_end() -> None:
            with pytest.raises(Aborted):
                await write()

        tasks.start_soon(expect_the_end)
        while writer.offset < 20 * PIECE:
            await anyio.lowlevel.checkpoint()
        await tight.abort("ref")


async def test_a_stream_in_small_pieces_is_stored(tight: LocalStore, source: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(source), 7000):
            yield source[start : start + 7000]

    async with tight:
        result = await tight.put(pieces())
        assert (sha256(source), True) == (str(result.digest), result.new)
        assert not (await write_blob(tight, pieces(), sha256(source), ref="ref")).new


def test_a_negative_write_buffer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="write_buffer_bytes"):
        LocalStore(tmp_path, write_buffer_bytes=-1)
