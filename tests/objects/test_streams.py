"""Streams of a blob on a server: one request, resumed where it breaks, and nothing left of a stream that is not read to its end."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from anyio.abc import ByteReceiveStream

from steelyard.content import ReaderAt
from steelyard.errors import DataCorrupt, Unreachable
from steelyard.local import LocalStore
from steelyard.objects import ObjectStore
from steelyard.objects._layout import blob_key
from steelyard.testing._values import data_of, digest_of
from steelyard.transfer import copy

from .proxy import FaultProxy, fault_proxy
from .s3 import request

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

LARGE = data_of((40 << 20) + 5, "large")
DIGEST = digest_of(LARGE)
HALF = len(LARGE) // 2

WHOLE = f"bytes=0-{len(LARGE) - 1}"
REST = f"bytes={HALF}-{len(LARGE) - 1}"

STREAMS = 40
"""More than the bodies that a process receives at once."""


@pytest.fixture(scope="module")
def proxy(versitygw: str) -> Iterator[FaultProxy]:
    with fault_proxy(versitygw) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    return uuid4().hex


@pytest.fixture
async def empty(proxy: FaultProxy, prefix: str, tmp_path: Path, keys: None) -> AsyncIterator[ObjectStore]:
    """Return a store without blobs, behind the proxy."""
    del keys
    proxy.plan(None)
    async with ObjectStore(f"s3://bucket/{prefix}?endpoint={proxy.address}", spool=tmp_path / "spool") as opened:
        yield opened


@pytest.fixture
def store(empty: ObjectStore, proxy: FaultProxy, prefix: str) -> ObjectStore:
    """Return a store with one blob, which the server gets directly, in a tenth of the time of a put; the proxy counts from here."""
    write(proxy, prefix, LARGE)
    proxy.plan(None)
    return empty


def write(proxy: FaultProxy, prefix: str, data: bytes) -> None:
    path = f"/bucket/{prefix}/{blob_key(DIGEST)}"
    assert 200 == request("PUT", f"http://{proxy.upstream}", path, data=data)[0]


async def read(reader: ReaderAt) -> bytes:
    async with reader.stream() as stream:
        return b"".join([piece async for piece in stream])


async def rest(stream: ByteReceiveStream, end: type[Exception] = anyio.EndOfStream) -> bytes:
    """Return the bytes of a stream up to an end of that kind."""
    received = bytearray()
    try:
        while True:
            received += await stream.receive()
    except end:
        return bytes(received)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110  # it becomes true in a thread
            await anyio.sleep(0.02)


async def test_a_stream_takes_one_request(store: ObjectStore, proxy: FaultProxy) -> None:
    async with store.reader_at(DIGEST) as reader:
        assert LARGE == await read(reader)
        assert [WHOLE] == [asked for asked, _ in proxy.ranges]
        async with reader.read_from(HALF) as stream:
            assert LARGE[HALF:] == b"".join([piece async for piece in stream])

    assert 1 + 2 == proxy.seen
    etags = {etag for _, etag in proxy.ranges}
    assert 1 == len(etags)
    assert None not in etags


async def test_a_copy_takes_one_request(store: ObjectStore, proxy: FaultProxy, tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "local") as local:
        await copy(store, DIGEST, local)
        assert LARGE == await local.get(DIGEST)

    assert 1 + 1 == proxy.seen


@pytest.mark.parametrize("fault", ["truncated", "reset", "empty", "failed"])
async def test_a_stream_that_breaks_goes_on_at_its_offset(store: ObjectStore, proxy: FaultProxy, fault: str) -> None:
    async with store.reader_at(DIGEST) as reader:
        proxy.plan(fault, at=1)
        assert LARGE == await read(reader)

    (first, etag), second = proxy.ranges
    assert WHOLE == first
    assert (REST if fault == "truncated" else WHOLE, etag) == second


@pytest.mark.usefixtures("store")
async def test_a_stream_that_breaks_again_and_again_ends_in_an_error(
    proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    """All attempts are made again when enough has arrived: half of the rest each time, until that is too little."""
    address = f"s3://bucket/{prefix}?endpoint={proxy.address}"
    async with (
        ObjectStore(address, spool=tmp_path / "other", retries=1) as other,
        other.reader_at(DIGEST) as reader,
        reader.stream() as stream,
    ):
        proxy.plan("truncated", lasting=True)
        received = bytearray(await rest(stream, Unreachable))
        assert LARGE.startswith(received)
        assert len(received) > len(LARGE) * 15 // 16
        proxy.plan(None)
        received += await rest(stream)
    assert LARGE == received


@pytest.mark.parametrize(
    ("replaced", "end"),
    [(LARGE, anyio.EndOfStream), (LARGE[:-1] + b"x", DataCorrupt), (LARGE + b"x", DataCorrupt)],
    ids=["the same", "another", "longer"],
)
async def test_an_object_that_is_replaced_while_it_is_read(
    empty: ObjectStore, proxy: FaultProxy, prefix: str, replaced: bytes, end: type[Exception]
) -> None:
    await empty.put(LARGE)  # in parts, so that its ETag is another one than that of the same bytes as a whole
    proxy.plan(None)
    async with empty.reader_at(DIGEST) as reader, reader.stream() as stream:
        proxy.plan("truncated", at=1)
        # The server has sent half, of which some has not arrived: what is received ahead has a limit.
        received = bytearray(await stream.receive(1))
        write(proxy, prefix, replaced)
        received += await rest(stream, end)

    assert received in (LARGE, replaced) if len(replaced) == len(LARGE) else received == LARGE[:HALF]
    assert [WHOLE, REST] + [REST] * (len(replaced) == len(LARGE)) == [asked for asked, _ in proxy.ranges]
    etags = [etag for _, etag in proxy.ranges]
    assert etags[0] == etags[1]
    assert etags[0] not in etags[2:]


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "dropped"])
async def test_nothing_is_left_of_a_stream_that_is_half_read(
    store: ObjectStore, proxy: FaultProxy, is_closed: bool
) -> None:
    async with store.reader_at(DIGEST) as reader:
        stream = reader.stream()
        assert LARGE[:10] == await stream.receive(10)
        assert 1 == proxy.sending
        if is_closed:
            await stream.aclose()
        else:
            del stream
            gc.collect()
        await until(lambda: proxy.sending == 0)
    assert proxy.sent < len(LARGE)


async def test_a_reader_that_rests_gives_its_connection_back(store: ObjectStore, proxy: FaultProxy) -> None:
    async with store.reader_at(DIGEST) as reader, reader.stream() as stream:
        received = bytearray(await stream.receive(10))
        await until(lambda: proxy.sending == 0)
        assert proxy.sent < len(LARGE)  # what is received ahead has a limit
        received += await rest(stream)

    assert LARGE == received
    assert 2 == len(proxy.ranges)


async def test_slow_readers_leave_room_for_others(store: ObjectStore) -> None:
    """Each stream begins although none is read to its end."""
    async with store.reader_at(DIGEST) as reader:
        streams = [reader.stream() for _ in range(STREAMS)]
        with anyio.fail_after(120):
            for stream in streams:
                assert LARGE[:10] == await stream.receive(10)
            assert await store.exists(DIGEST)
            for stream in streams[1:]:
                await stream.aclose()
            received = bytearray(LARGE[:10])
            received += await rest(streams[0])
    assert LARGE == received


async def test_a_cancelled_call_takes_nothing(store: ObjectStore, proxy: FaultProxy) -> None:
    async with store.reader_at(DIGEST) as reader, reader.stream() as stream:
        proxy.plan("stalled")
        for _ in range(3):
            with anyio.move_on_after(0.05) as scope:
                await stream.receive()
            assert scope.cancelled_caught
        assert 1 == proxy.seen
        proxy.plan(None)
        received = bytearray(await rest(stream))
    assert LARGE == received
