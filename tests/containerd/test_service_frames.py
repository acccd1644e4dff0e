"""Frames that break the rules of HTTP/2: they end their connection or their call, and nothing else.

The codes are those of h2: where RFC 9113 has a code of its own for a rule, such as FRAME_SIZE_ERROR, h2 often says PROTOCOL_ERROR.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from steelyard import LocalStore
from steelyard.containerd.service import Server
from steelyard_bench._proto import content_pb2 as pb

from .frames import (
    ACK,
    PREFACE,
    Kind,
    Peer,
    Setting,
    call,
    frame,
    header,
    headers,
    request,
    reset,
    settings,
    window,
)
from .wire import SECONDS, Wire, wire

CONTENT = "/containerd.services.content.v1.Content/"
CALL = call(CONTENT + "Info", b"", 1)
OPEN = headers(request(CONTENT + "List"), 1)
UNFINISHED = 0
WRONG, SIZE, FLOW = "GOAWAY PROTOCOL_ERROR", "GOAWAY FRAME_SIZE_ERROR", "GOAWAY FLOW_CONTROL_ERROR"
RESET = "RST_STREAM PROTOCOL_ERROR"
CALM = "GOAWAY ENHANCE_YOUR_CALM"

BOMB_FRAME = headers(request("/") + header(b"a", b"b" * 3900, first=0x40) + b"\xbe" * 12_000, 1)
"""A header is put into the table once, and then named twelve thousand times: 47 MB of headers in 16 KiB."""

BEGINNINGS = {
    # The beginning
    "nothing that is HTTP/2": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "closed"),
    "garbage": (random.Random(0).randbytes(100_000), "closed"),
    "a preface with one wrong byte": (PREFACE[:-1] + b"x" + settings(), "closed"),
    "a first frame that is no settings": (PREFACE + frame(Kind.PING, b"\0" * 8), "open"),
}

FRAMES = {
    # SETTINGS
    "settings of a stream": (frame(Kind.SETTINGS, stream=1), WRONG),
    "settings of half a setting": (frame(Kind.SETTINGS, b"\0" * 5), WRONG),
    "an answer to settings with settings": (frame(Kind.SETTINGS, b"\0" * 6, flags=ACK), WRONG),
    "a window of 2 GiB": (settings({Setting.INITIAL_WINDOW_SIZE: 2**31}), WRONG),
    "frames of one byte": (settings({Setting.MAX_FRAME_SIZE: 1}), WRONG),
    "frames of 16 MiB": (settings({Setting.MAX_FRAME_SIZE: 2**24}), WRONG),
    "a push that is neither on nor off": (settings({Setting.ENABLE_PUSH: 2}), WRONG),
    "a setting that there is not": (settings({0xEEEE: 1}), "open"),
    "no table of headers": (settings({Setting.HEADER_TABLE_SIZE: 0}) + CALL, "open"),
    "a huge table of headers": (settings({Setting.HEADER_TABLE_SIZE: 2**32 - 1}) + CALL, "open"),
    "windows that overflow by settings": (
        OPEN + window(2**31 - 1 - 65_535, 1) + settings({Setting.INITIAL_WINDOW_SIZE: 65_536}),
        FLOW,
    ),
    # PING, GOAWAY, PRIORITY, RST_STREAM
    "a ping of a stream": (frame(Kind.PING, b"\0" * 8, stream=1), WRONG),
    "a ping of seven bytes": (frame(Kind.PING, b"\0" * 7), WRONG),
    "an end of a stream's connection": (frame(Kind.GOAWAY, b"\0" * 8, stream=1), WRONG),
    "a priority of four bytes": (OPEN + frame(Kind.PRIORITY, b"\0" * 4, stream=1), WRONG),
    "a priority of the connection": (frame(Kind.PRIORITY, b"\0" * 5), WRONG),
    "a reset of three bytes": (OPEN + frame(Kind.RST_STREAM, b"\0" * 3, stream=1), WRONG),
    "a reset of the connection": (reset(0), WRONG),
    "a reset of a call that there is not": (reset(1), WRONG),
    "a reset of a call that has ended": (CALL + reset(1) + reset(1), "open"),
    # WINDOW_UPDATE
    "a window of nothing": (window(0), WRONG),
    "a window of nothing of a call": (OPEN + window(0, 1), WRONG),
    "a window of three bytes": (frame(Kind.WINDOW_UPDATE, b"\0" * 3), WRONG),
    "a window that overflows": (window(2**31 - 1), FLOW),
    "a window of a call that overflows": (OPEN + window(2**31 - 1, 1), "RST_STREAM FLOW_CONTROL_ERROR"),
    "a window of a call that there is not": (window(1, 1), WRONG),
    # HEADERS, CONTINUATION, PUSH_PROMISE
    "a call of the connection": (headers(request("/"), 0), WRONG),
    "a call with an even number": (headers(request("/"), 2), WRONG),
    "a call with a lower number": (headers(request("/"), 3) + headers(request("/"), 1), WRONG),
    "headers of a call that has ended": (CALL + CALL, RESET),
    "a call that depends on itself": (
        frame(Kind.HEADERS, b"\0\0\0\1\0" + request("/"), flags=0x24, stream=1),
        RESET,
    ),
    "a frame between headers": (headers(request("/"), 1, UNFINISHED) + frame(Kind.PING, b"\0" * 8), WRONG),
    "headers of another call between headers": (
        headers(request("/"), 1, UNFINISHED) + frame(Kind.CONTINUATION, stream=3),
        WRONG,
    ),
    "a continuation of nothing": (frame(Kind.CONTINUATION, stream=1), WRONG),
    "more padding than there is": (frame(Kind.HEADERS, b"\xff" + request("/"), flags=0x0C, stream=1), WRONG),
    "a push": (OPEN + frame(Kind.PUSH_PROMISE, b"\0\0\0\2" + request("/"), flags=4, stream=1), WRONG),
    "no method": (headers(header(b":path", b"/"), 1), RESET),
    "a header in capitals": (headers(request("/") + header(b"A", b"b"), 1), WRONG),
    "a status of a request": (headers(header(b":status", b"200") + request("/"), 1), RESET),
    "a path after a header": (headers(request("/") + header(b":path", b"/"), 1), RESET),
    "a header of the connection": (headers(request("/") + header(b"connection", b"x"), 1), RESET),
    "a place past the table of headers": (headers(b"\xff\xff\xff\x7f", 1), WRONG),
    "a place of 70 bits": (headers(b"\xff" * 11, 1), WRONG),
    "a string longer than the headers": (headers(b"\x00\x7f\xff\x7f", 1), WRONG),
    "a string that is compressed wrongly": (headers(b"\x00\x01a\x84\xff\xff\xff\xff", 1), WRONG),
    "a table of more than was agreed on": (headers(b"\x3f\xff\xff\x7f" + request("/"), 1), WRONG),
    "headers of 20 KiB": (
        headers(request("/"), 1, UNFINISHED)
        + frame(Kind.CONTINUATION, header(b"a", b"b" * 16_000), stream=1)
        + frame(Kind.CONTINUATION, header(b"c", b"d" * 4_000), flags=4, stream=1),
        RESET,
    ),
    "a bomb of headers": (BOMB_FRAME, CALM),
    # DATA
    "data of the connection": (frame(Kind.DATA, b"x"), WRONG),
    "data of a call that there is not": (frame(Kind.DATA, b"x", stream=1), WRONG),
    "data of a call that has ended": (CALL + frame(Kind.DATA, b"x", stream=1), WRONG),
    "data with more padding than there is": (OPEN + frame(Kind.DATA, b"\xffx", flags=8, stream=1), WRONG),
    "a frame that is too large": (OPEN + frame(Kind.DATA, bytes(16_385), stream=1), SIZE),
    "a frame that says it has 16 MiB": (OPEN + b"\xff\xff\xff" + frame(Kind.DATA, stream=1)[3:], SIZE),
}


@pytest.fixture(scope="module")
def attacked() -> Iterator[Server]:
    """Give one service for all of it."""
    with (
        tempfile.TemporaryDirectory(prefix="sy-", dir="/tmp") as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(LocalStore(Path(folder) / "store", durability="process-crash")) as store,
        portal.wrap_async_context_manager(Server(store, Path(folder) / "s", grace_seconds=5)) as server,
    ):
        yield server


@pytest.fixture
def other(attacked: Server) -> Iterator[Wire]:
    """Give another client, which is served before and after."""
    with wire(attacked.address) as content:
        assert [] == list(content.content.List(pb.ListContentRequest(), timeout=SECONDS))
        yield content
        assert [] == list(content.content.List(pb.ListContentRequest(), timeout=SECONDS))


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_connection_that_begins_wrongly_is_ended(attacked: Server, name: str) -> None:
    first, outcome = BEGINNINGS[name]
    with Peer(attacked.path, first) as peer:
        assert outcome == peer.outcome()


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("name", FRAMES)
def test_a_broken_rule_ends_the_call_or_the_connection(attacked: Server, name: str) -> None:
    sent, outcome = FRAMES[name]
    with Peer(attacked.path) as peer:
        peer.send([sent])

        assert outcome == peer.outcome()


@pytest.mark.usefixtures("other")
def test_frames_with_wrong_bytes_at_any_place_harm_no_other(attacked: Server) -> None:
    chosen = random.Random(0)
    valid = [
        settings({Setting.INITIAL_WINDOW_SIZE: 9}),
        CALL,
        OPEN,
        window(9),
        window(9, 1),
        reset(1),
        BOMB_FRAME[:200],
    ]
    for _ in range(300):
        sent = bytearray(b"".join(chosen.choices(valid, k=5)))
        for _ in range(chosen.randrange(1, 4)):
            sent[chosen.randrange(len(sent))] = chosen.randrange(256)
        with Peer(attacked.path) as peer:
            peer.send([bytes(sent[: chosen.randrange(len(sent) + 1)])])
