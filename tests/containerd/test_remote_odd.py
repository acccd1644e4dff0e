"""Servers that answer as no containerd does: each answer becomes an error that says so, or the call is made again."""

from __future__ import annotations

import base64
import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from steelyard.containerd import RemoteStore
from steelyard.errors import NotFound, StorageError, Unreachable, Unsupported
from steelyard.testing._values import digest_of
from steelyard_bench._proto import content_pb2 as pb

from .odd_server import HEADERS, Answer, message, serving

pytestmark = pytest.mark.anyio

DIGEST = digest_of(b"data")
INFO = pb.InfoResponse(info=pb.Info(digest=str(DIGEST), size=4)).SerializeToString()


def respond(*data: bytes, headers: list[tuple[str, str]] = HEADERS, trailers: dict[str, str] | None = None) -> Answer:
    """Return an answer with these bytes, each in a frame of its own, and with these trailers or none."""

    def answer(connection: H2Connection, stream: int) -> None:
        connection.send_headers(stream, headers)
        for piece in data:
            connection.send_data(stream, piece)
        if trailers is None:
            connection.end_stream(stream)
        else:
            connection.send_headers(stream, list(trailers.items()), end_stream=True)

    return answer


def fail(code: int, text: str, **more: str) -> Answer:
    """Return an answer without a message, whose headers say how the call ended."""
    status = {"grpc-status": str(code), "grpc-message": text, **more}

    def answer(connection: H2Connection, stream: int) -> None:
        connection.send_headers(stream, [*HEADERS, *status.items()], end_stream=True)

    return answer


def reset(code: ErrorCodes) -> Answer:
    return lambda connection, stream: connection.reset_stream(stream, code)


def go_away(connection: H2Connection, _: int) -> None:
    connection.close_connection(ErrorCodes.NO_ERROR, last_stream_id=0)


OK = respond(message(INFO), trailers={"grpc-status": "0"})

ODD: dict[str, tuple[Answer, type[Exception], str]] = {
    "HTTP without gRPC": (respond(b"<html>", headers=[(":status", "404")]), Unsupported, "Info"),
    "a proxy's error": (respond(headers=[(":status", "503")]), Unreachable, "HTTP status 503"),
    "another content type": (
        respond(b"<html>", headers=[(":status", "200"), ("content-type", "text/html")]),
        StorageError,
        "another content type",
    ),
    "no status": (respond(message(INFO)), StorageError, "without a status"),
    "a status that is no number": (respond(trailers={"grpc-status": "well"}), StorageError, "UNKNOWN"),
    "a code that there is not": (respond(trailers={"grpc-status": "99"}), StorageError, "UNKNOWN"),
    "a message that is cut": (
        respond(message(INFO[:9], length=99), trailers={"grpc-status": "0"}),
        StorageError,
        "within an answer",
    ),
    "a message that is too large": (respond(message(b"", length=17 << 20)), StorageError, "at most 16777216"),
    "a compressed message": (respond(message(INFO, compressed=True)), Unsupported, "Info"),
    "garbage for a message": (
        respond(message(b"\xff" * 9), trailers={"grpc-status": "0"}),
        StorageError,
        "not a message",
    ),
    "no message": (respond(trailers={"grpc-status": "0"}), StorageError, "no message, expected one"),
    "no message and no trailers": (fail(0, ""), StorageError, "no message, expected one"),
    "two messages": (respond(message(INFO) * 2, trailers={"grpc-status": "0"}), StorageError, "several messages"),
    "an empty message": (respond(message(b""), trailers={"grpc-status": "0"}), StorageError, "answer: digest ''"),
    "an invalid digest": (
        respond(
            message(pb.InfoResponse(info=pb.Info(digest="sha256:zz")).SerializeToString()),
            trailers={"grpc-status": "0"},
        ),
        StorageError,
        "answer: digest 'sha256:zz'",
    ),
    "a size below 0": (
        respond(
            message(pb.InfoResponse(info=pb.Info(digest=str(DIGEST), size=-4)).SerializeToString()),
            trailers={"grpc-status": "0"},
        ),
        StorageError,
        "answer: size -4",
    ),
    "text that is no UTF-8": (respond(message(b"\x0a\x04\x0a\x02\xff\xfe")), StorageError, "not a message"),
    "a reset": (reset(ErrorCodes.INTERNAL_ERROR), StorageError, "ended the call"),
    "a reset for too many calls": (reset(ErrorCodes.ENHANCE_YOUR_CALM), StorageError, "ended the call"),
    "a cancelled call": (reset(ErrorCodes.CANCEL), Unreachable, "ended the call"),
    "a refusal that does not end": (reset(ErrorCodes.REFUSED_STREAM), Unreachable, "ended the call"),
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_answer_is_an_error_that_says_so(short_path: Path, name: str) -> None:
    answer, kind, text = ODD[name]
    with serving(short_path / "s", answer):
        async with RemoteStore(short_path / "s", timeout=30) as store:
            with pytest.raises(kind, match=text) as caught:
                await store.info(DIGEST)

    assert str(short_path) in str(caught.value)


async def test_a_message_in_any_pieces_is_whole(short_path: Path) -> None:
    pieces = [bytes([byte]) for byte in message(INFO)]
    with serving(short_path / "s", respond(*pieces, trailers={"grpc-status": "0"})):
        async with RemoteStore(short_path / "s") as store:
            assert 4 == (await store.info(DIGEST)).size


@pytest.mark.parametrize("unseen", [reset(ErrorCodes.REFUSED_STREAM), go_away], ids=["refused", "gone"])
async def test_a_call_that_the_server_did_not_look_at_is_made_again(short_path: Path, unseen: Answer) -> None:
    with serving(short_path / "s", unseen, OK) as server:
        async with RemoteStore(short_path / "s", timeout=30) as store:
            assert 4 == (await store.info(DIGEST)).size

    assert 2 == server.requests
    assert (2 if unseen is go_away else 1) == server.connections


async def test_texts_and_details_are_decoded(short_path: Path) -> None:
    details = base64.b64encode(b'{"code": "not_found", "name": "\xc3\xa9t\xc3\xa9", "kind": "lease"}').decode()
    assert details.endswith("=")
    with serving(short_path / "s", fail(9, "caf%C3%A9 100%25"), fail(5, "", **{"steelyard-error-bin": details})):
        async with RemoteStore(short_path / "s", timeout=30) as store:
            with pytest.raises(Exception, match="café 100%"):
                await store.info(DIGEST)
            with pytest.raises(NotFound) as caught:
                await store.info(DIGEST)

    assert ("été", "lease") == (caught.value.name, caught.value.kind)


async def test_a_header_that_is_too_long_is_an_error(short_path: Path) -> None:
    with serving(short_path / "s", fail(5, "x" * 70_000)):
        async with RemoteStore(short_path / "s", timeout=30) as store:
            with pytest.raises((StorageError, Unreachable)):
                await store.info(DIGEST)


@pytest.fixture(params=[b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100), b"\xff" * 100])
def babbling(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Path]:
    """Give a socket whose server says something else than HTTP/2 and ends each connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_path / "s"))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as connected:
                        connected.sendall(request.param)

        thread = threading.Thread(target=serve, name="babbling")
        thread.start()
        yield short_path / "s"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


async def test_a_server_of_another_protocol_is_unreachable(babbling: Path) -> None:
    async with RemoteStore(babbling, timeout=30) as store:
        for _ in range(3):
            with pytest.raises((Unreachable, StorageError)) as caught:
                await store.info(DIGEST)

    assert str(babbling) in str(caught.value)
    assert not isinstance(caught.value, StorageError) or caught.value.errno == errno.EIO
