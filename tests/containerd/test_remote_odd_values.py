"""Servers whose answers are well-formed and cannot be right: each one becomes an error that names what is wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from anyio.abc import ByteReceiveStream
from h2.connection import H2Connection

from steelyard.containerd import RemoteStore
from steelyard.containerd._code import Code
from steelyard.containerd.remote._errors import About, Refused, error_of
from steelyard.content import ReaderAt
from steelyard.errors import DataCorrupt, FailedPrecondition, InvalidArgument, NotFound, StorageError
from steelyard.testing._values import digest_of
from steelyard_bench._proto import content_pb2 as pb
from steelyard_bench._proto import images_pb2 as images
from steelyard_bench._proto import leases_pb2 as leases

from .odd_server import HEADERS, Answer, message, serving

pytestmark = pytest.mark.anyio

DIGEST, OTHER = digest_of(b"data"), digest_of(b"other")


def answer(*messages: Any) -> Answer:
    """Return an answer that goes well, with these messages."""

    def send(connection: H2Connection, stream: int) -> None:
        connection.send_headers(stream, HEADERS)
        for each in messages:
            connection.send_data(stream, message(each.SerializeToString()))
        connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)

    return send


def info(**fields: Any) -> Answer:
    given: dict[str, Any] = {"digest": str(DIGEST), "size": 4} | fields
    return answer(pb.InfoResponse(info=pb.Info(**given)))


def data(*pieces: bytes) -> Answer:
    return answer(*(pb.ReadContentResponse(data=piece) for piece in pieces))


def image(name: str, **target: Any) -> Answer:
    return answer(images.GetImageResponse(image=images.Image(name=name, target={"digest": str(DIGEST)} | target)))


async def drained(stream: ByteReceiveStream) -> bytes:
    async with stream:
        return b"".join([piece async for piece in stream])


async def write(store: RemoteStore) -> None:
    await (await store.writer("r")).aclose()


Use = Callable[[RemoteStore], Awaitable[object]]

ODD: dict[str, tuple[Answer, Use, str]] = {
    "the info of another blob": (info(digest=str(OTHER)), lambda store: store.info(DIGEST), f"{OTHER}.*{DIGEST}"),
    "the status of another ingest": (
        answer(pb.StatusResponse(status=pb.Status(ref="q"))),
        lambda store: store.status("r"),
        "'q', expected 'r'",
    ),
    "no status": (answer(pb.StatusResponse()), lambda store: store.status("r"), "'', expected 'r'"),
    "an offset below 0": (
        answer(pb.StatusResponse(status=pb.Status(ref="r", offset=-5))),
        lambda store: store.status("r"),
        "offset -5",
    ),
    "a total below 0": (
        answer(pb.ListStatusesResponse(statuses=[pb.Status(ref="r", total=-7)])),
        lambda store: store.list_statuses(),
        "total -7",
    ),
    "another image name": (image("b"), lambda store: store.images.get("a"), "'b', expected 'a'"),
    "a target with a size below 0": (image("a", size=-4), lambda store: store.images.get("a"), "size -4"),
    "a written offset below 0": (answer(pb.WriteContentResponse(offset=-5)), write, "offset -5"),
    "a written digest that is none": (answer(pb.WriteContentResponse(digest="sha256:zz")), write, "'sha256:zz'"),
    "a stored digest that is none": (
        answer(pb.WriteContentResponse(digest="zz")),
        lambda store: store.put(b"data"),
        "'zz'",
    ),
}


@pytest.mark.parametrize("name", ODD)
async def test_an_answer_that_cannot_be_right_is_an_error(short_path: Path, name: str) -> None:
    odd, use, text = ODD[name]
    with serving(short_path / "s", odd):
        async with RemoteStore(short_path / "s", timeout=30, idle_timeout=30) as store:
            with pytest.raises(StorageError, match=text):
                await use(store)


@pytest.mark.parametrize(
    ("pieces", "found"), [((), "0 bytes"), ((b"da",), "2 bytes"), ((b"data", b"more"), "more"), ((b"data!",), "more")]
)
async def test_a_range_of_another_length_is_an_error(short_path: Path, pieces: tuple[bytes, ...], found: str) -> None:
    expected = f"expected 4 bytes from offset 0, found {found}"
    with serving(short_path / "s", info(), data(*pieces)):
        async with RemoteStore(short_path / "s") as store, await store.reader_at(DIGEST) as reader:
            with pytest.raises(DataCorrupt, match=expected):
                await reader.read_at(0, 4)
            with pytest.raises(DataCorrupt, match=expected):
                await reader.readinto_at(0, bytearray(4))
            for stream, text in (reader.read_from(), expected), (reader.stream(), "corrupt"):
                async with stream:
                    for _ in range(2):
                        with pytest.raises(DataCorrupt, match=text):
                            b"".join([piece async for piece in stream])


@pytest.mark.parametrize(
    "use",
    [
        lambda reader: reader.read_at(0, 4),
        lambda reader: drained(reader.read_from()),
        lambda reader: drained(reader.stream()),
    ],
    ids=["read_at", "read_from", "stream"],
)
async def test_a_read_without_an_end_is_given_up(
    short_path: Path, use: Callable[[ReaderAt], Awaitable[object]]
) -> None:
    def endless(connection: H2Connection, stream: int) -> None:
        # As much as the client lets it send at once, and no end.
        connection.send_headers(stream, HEADERS)
        for _ in range(100):
            connection.send_data(stream, message(pb.ReadContentResponse(data=bytes(16_000)).SerializeToString()))

    with serving(short_path / "s", info(), endless):
        async with RemoteStore(short_path / "s", idle_timeout=30) as store, await store.reader_at(DIGEST) as reader:
            with pytest.raises(DataCorrupt, match="found more"):
                await use(reader)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("2020-01-01T00:00:00Z", True),
        ("2020-01-01T00:00:00.123456789+01:00", True),
        ("2020-01-01", False),
        ("20200101T000000Z", False),
        ("2020-01-01T00:00:00", False),
        ("2020-W01-1", False),
    ],
)
async def test_a_lease_ends_at_a_time_that_containerd_knows(short_path: Path, text: str, ends: bool) -> None:
    found = leases.Lease(id="l", labels={"containerd.io/gc.expire": text})
    with serving(short_path / "s", answer(leases.ListResponse(leases=[found]))):
        async with RemoteStore(short_path / "s") as store:
            assert ([] if ends else ["l"]) == [lease.id for lease in await store.leases.list()]


@pytest.mark.parametrize("text", ["size {}, expected 1", "size 1, expected {}", "size validation: 1 != {}"])
def test_a_size_of_very_many_digits_is_no_size(text: str) -> None:
    refused = Refused(Code.FAILED_PRECONDITION, text.format("9" * 5000))

    error = error_of(refused, About(kind="ingest", name="r", call="Write"), "unix:///s")

    assert FailedPrecondition is type(error)


def test_details_of_any_depth_are_passed_over() -> None:
    refused = Refused(Code.NOT_FOUND, "gone", b'{"a":' * 20_000)

    error = error_of(refused, About(kind="blob", name=str(DIGEST), call="Info"), "unix:///s")

    assert NotFound is type(error)


@pytest.mark.parametrize("limit", ["timeout", "idle_timeout"])
def test_a_time_that_is_no_number_is_refused(short_path: Path, limit: str) -> None:
    limits: dict[str, Any] = {limit: float("nan")}
    with pytest.raises(InvalidArgument, match=f"{limit}=nan"):
        RemoteStore(short_path / "s", **limits)
