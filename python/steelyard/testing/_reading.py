"""Readers: ranges, buffers, the verified stream, and reads after the blob is deleted."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from steelyard.content import Provider, Store
from steelyard.digest import Algorithm
from steelyard.errors import (
    DataCorrupt,
    InvalidArgument,
    InvalidDigest,
    InvalidDigestLength,
    NotFound,
    OutOfRange,
    UnsupportedAlgorithm,
)
from steelyard.model import Descriptor
from steelyard.testing._values import data_of, digest_of, keep


async def read(store: Provider, blob: Any, offset: int, size: int) -> bytes:
    """Return a range of a blob."""
    async with store.reader_at(blob) as reader:
        return await reader.read_at(offset, size)


@pytest.mark.anyio
class ReadingContract:
    """containerd's SmallBlob, and the rest of Provider and ReaderAt."""

    async def test_a_read_past_the_end_gives_exactly_the_bytes_there_are(self, store: Store) -> None:
        digest = await keep(store, b"foobar")
        async with store.reader_at(digest) as reader:
            assert (digest, 6) == (reader.digest, reader.size)
            for offset, size, expected in (
                (0, 100, b"foobar"),
                (3, 3, b"bar"),
                (3, 4, b"bar"),
                (6, 1, b""),
                (2, 0, b""),
            ):
                assert expected == await reader.read_at(offset, size)
            with pytest.raises(OutOfRange) as caught:
                await reader.read_at(7, 1)
            assert (7, 6) == (caught.value.offset, caught.value.size)
            for offset, size in ((-1, 1), (0, -1)):
                with pytest.raises(InvalidArgument):
                    await reader.read_at(offset, size)

    async def test_ranges_of_a_large_blob_join_to_the_whole_blob(self, store: Store) -> None:
        data = data_of((3 << 20) + 17)
        digest = await keep(store, data)
        async with store.reader_at(digest) as reader:
            assert data[1_000_000:3_000_000] == await reader.read_at(1_000_000, 2_000_000)
            assert data == b"".join([await reader.read_at(at, 1 << 20) for at in range(0, len(data), 1 << 20)])

    async def test_a_read_fills_a_buffer_of_the_caller(self, store: Store) -> None:
        digest = await keep(store, b"0123456789")
        async with store.reader_at(digest) as reader:
            for offset, room, expected in ((0, 4, b"0123"), (8, 4, b"89__"), (10, 2, b"__")):
                buffer = bytearray(b"_" * room)
                assert len(expected.rstrip(b"_")) == await reader.readinto_at(offset, buffer)
                assert expected == buffer
            buffer = bytearray(b"______")
            assert 2 == await reader.readinto_at(3, memoryview(buffer)[2:4])
            assert b"__34__" == buffer
            with pytest.raises(OutOfRange):
                await reader.readinto_at(11, bytearray(1))
            with pytest.raises(InvalidArgument):
                await reader.readinto_at(-1, bytearray(1))
            with pytest.raises((TypeError, BufferError)):
                await reader.readinto_at(0, b"read-only")

    @pytest.mark.parametrize("algorithm", Algorithm)
    async def test_a_stream_gives_the_whole_blob_and_then_ends(self, store: Store, algorithm: Algorithm) -> None:
        data = data_of(300_000)
        digest = (await store.put(data, algorithm=algorithm)).digest
        async with store.reader_at(digest) as reader:
            for most in (1 << 20, 65_536, 7_777):
                async with reader.stream() as stream:
                    found = b""
                    with pytest.raises(anyio.EndOfStream):  # noqa: PT012  # the loop ends by the error
                        while True:
                            piece = await stream.receive(most)
                            assert 0 < len(piece) <= most
                            found += piece
                    with pytest.raises(anyio.EndOfStream):
                        await stream.receive()
                assert data == found
                with pytest.raises(anyio.ClosedResourceError):
                    await stream.receive()
            assert data[:5] == await reader.read_at(0, 5)

    async def test_a_stream_from_an_offset_gives_the_rest(self, store: Store) -> None:
        data = data_of((5 << 20) + 17)
        digest = await keep(store, data)
        async with store.reader_at(digest) as reader:
            for offset in (0, 1, 1 << 20, (4 << 20) + 1, len(data)):
                async with reader.read_from(offset) as stream:
                    assert data[offset:] == b"".join([piece async for piece in stream])
                    with pytest.raises(anyio.EndOfStream):
                        await stream.receive()
                with pytest.raises(anyio.ClosedResourceError):
                    await stream.receive()
            async with reader.read_from(3) as stream:
                assert data[3:8] == await stream.receive(5)
            with pytest.raises(OutOfRange):
                async with reader.read_from(len(data) + 1) as stream:
                    await stream.receive()

    async def test_two_streams_of_a_reader_do_not_disturb_each_other(self, store: Store) -> None:
        digest = await keep(store, b"0123456789")
        async with store.reader_at(digest) as reader, reader.stream() as first, reader.stream() as second:
            assert b"0123" == await first.receive(4)
            assert b"01" == await second.receive(2)
            assert b"4567" == await first.receive(4)

    async def test_a_stream_refuses_to_receive_less_than_one_byte(self, store: Store) -> None:
        digest = await keep(store, b"data")
        async with store.reader_at(digest) as reader, reader.stream() as whole, reader.read_from(1) as rest:
            for stream in (whole, rest):
                for size in (0, -1):
                    with pytest.raises(ValueError, match="must be positive"):
                        await stream.receive(size)
            assert (b"data", b"ata") == (await whole.receive(10), await rest.receive(10))

    async def test_the_empty_blob_streams_nothing(self, store: Store) -> None:
        digest = await keep(store, b"")
        async with store.reader_at(digest) as reader:
            assert b"" == await reader.read_at(0, 10)
            with pytest.raises(anyio.EndOfStream):
                await reader.stream().receive()

    async def test_an_open_reader_outlives_the_blob(self, store: Store) -> None:
        data = data_of(200_000)
        digest = await keep(store, data)
        async with store.reader_at(digest) as reader:
            await store.delete(digest)
            assert data[1000:2000] == await reader.read_at(1000, 1000)
            assert data == b"".join([piece async for piece in reader.stream()])
            with pytest.raises(NotFound):
                await store.reader_at(digest)

    async def test_a_closed_reader_refuses_and_closes_again(self, store: Store) -> None:
        reader = await store.reader_at(await keep(store, b"data"))
        await reader.aclose()
        await reader.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await reader.read_at(0, 1)
        with pytest.raises(anyio.ClosedResourceError):
            await reader.readinto_at(0, bytearray(1))

    async def test_a_reader_can_be_awaited_or_entered_and_closes_either_way(self, store: Store) -> None:
        digest = await keep(store, b"data")
        async with store.reader_at(digest) as entered:
            assert b"data" == await entered.read_at(0, 4)
        async with await store.reader_at(digest) as awaited:
            assert b"data" == await awaited.read_at(0, 4)
        for reader in (entered, awaited):
            with pytest.raises(anyio.ClosedResourceError):
                await reader.read_at(0, 1)
        with pytest.raises(NotFound):
            async with store.reader_at(digest_of(b"missing")):
                pass

    async def test_a_blob_is_named_by_digest_text_or_descriptor(self, store: Store) -> None:
        digest = await keep(store, b"data")
        for name in (digest, str(digest), Descriptor(digest=digest), Descriptor(digest=digest, size=4)):
            assert b"data" == await read(store, name, 0, 10)
            assert b"data" == await store.get(name)
        for size in (0, 3, 5):
            of_another_size = Descriptor(digest=digest, size=size)
            with pytest.raises(DataCorrupt):
                await store.reader_at(of_another_size)
            with pytest.raises(DataCorrupt):
                await store.get(of_another_size)
        assert b"data" == await store.get(digest)

    async def test_a_missing_blob_is_not_found_by_any_call(self, store: Store) -> None:
        digest = digest_of(b"missing")
        for call in (store.reader_at, store.info, store.get, store.delete):
            with pytest.raises(NotFound) as caught:
                await call(digest)
            assert ("blob", str(digest)) == (caught.value.kind, caught.value.name)
        assert not await store.exists(digest)

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("", InvalidDigest),
            ("sha256", InvalidDigest),
            ("sha256:", InvalidDigest),
            ("sha256:" + "g" * 64, InvalidDigest),
            ("sha256:" + "AB" * 32, InvalidDigest),
            ("sha256:../../../../etc/passwd", InvalidDigest),
            ("../sha256:" + "a" * 64, InvalidDigest),
            ("sha256:" + "a" * 64 + "\n", InvalidDigest),
            ("sha256:" + "a" * 64 + "\x00", InvalidDigest),
            ("sha256:" + "٣" * 64, InvalidDigest),
            ("sha256:\ud800", InvalidDigest),
            ("sha256:" + "a" * 63, InvalidDigestLength),
            ("sha512:" + "a" * 64, InvalidDigestLength),
            ("md5:" + "a" * 32, UnsupportedAlgorithm),
        ],
    )
    async def test_a_malformed_digest_is_refused_by_every_call(
        self, store: Store, text: str, error: type[InvalidDigest]
    ) -> None:
        calls: tuple[Any, ...] = (store.reader_at, store.info, store.get, store.delete, store.exists)
        for call in calls:
            with pytest.raises(error):
                await call(text)
        with pytest.raises(error):
            await store.infos([digest_of(b""), text])
        with pytest.raises(error):
            await store.put(b"data", expected=text)
        with pytest.raises(error):
            await store.writer("ref", expected=text)
        assert [] == await store.list_statuses()
