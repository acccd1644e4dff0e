"""Published attacks on HTTP/2 servers: the connection is ended or kept within bounds, and other clients are served meanwhile.

Each of these floods had its CVE: of SETTINGS, PING, empty frames, resets and slow windows in 2019 (CVE-2019-9511 to 9518), rapid
resets in 2023 (CVE-2023-44487), CONTINUATION in 2024 (CVE-2024-27316), resets that the server is made to send in 2025 (CVE-2025-8671).
"""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

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
    headers,
    new_streams,
    repeated,
    request,
    reset,
    settings,
    window,
)
from .proxied import eventually
from .serving import Serving, serving
from .wire import SECONDS, Wire, off_loop, sha256, wire

MIB = 1 << 20
CONTENT = "/containerd.services.content.v1.Content/"
CALM = "GOAWAY ENHANCE_YOUR_CALM"
WRONG = "GOAWAY PROTOCOL_ERROR"
SMALL, LARGE = b"small", random.Random(0).randbytes(15 * MIB)
ANSWER_SECONDS = 20
"""A client that is answered later was held up. Here it takes less than one."""
PATIENCE = 0.3
"""A server that takes nothing for so long has stopped to read."""
BEGIN_SECONDS = 10
"""A connection that has not begun by then is closed."""
MOST_MEMORY = 64 * MIB
"""The most that a flood may add to the memory of the server while it lasts."""
MOST_LEFT = 32 * MIB
"""The most that all of them may leave behind."""
IDLE_THREADS = 4
"""Threads that may still wait for work after a flood; they end soon."""


@dataclass(frozen=True)
class Flood:
    """A flood.

    Attributes:
        chunks: what is sent for as long as it lasts.
        outcome: how the server takes it.
        or_outcome: how it may take it as well, where that depends on time.
        before: what is sent once before.
        answers: how many answers to that are waited for.
        reads: whether the client reads what the server sends.
        takes_all: whether it may take up all calls that the service admits, for as long as it lasts.
    """

    chunks: Callable[[], Iterator[bytes]]
    outcome: str = "open"
    or_outcome: str = ""
    before: bytes = b""
    answers: int = 0
    reads: bool = True
    takes_all: bool = False


def info(stream: int) -> bytes:
    return call(CONTENT + "Info", pb.InfoRequest(digest=sha256(SMALL)).SerializeToString(), stream)


def read(stream: int, *, ends: bool = True) -> bytes:
    request = pb.ReadContentRequest(digest=sha256(LARGE))
    return call(CONTENT + "Read", request.SerializeToString(), stream, ends=ends)


def opened(stream: int, method: str = "List") -> bytes:
    return headers(request(CONTENT + method), stream)


def cancelled() -> Iterator[bytes]:
    """Give calls that are under way when they are cancelled."""
    for first in count(1, 200):
        streams = range(first, first + 200, 2)
        yield b"".join(info(stream) for stream in streams)
        yield frame(Kind.PING, b"\0" * 8)
        yield b"".join(reset(stream) for stream in streams)


def same(piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: repeated(piece)


def streams(make: Callable[[int], bytes]) -> Callable[[], Iterator[bytes]]:
    return lambda: new_streams(make, 3)


READERS = 28
"""Reads of a client: eight of them leave room for other calls."""
READS = b"".join(read(stream) for stream in range(1, READERS * 2, 2))
ONE_BYTE: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: 1}
BYTE_BY_BYTE = window(1) + b"".join(window(1, stream) for stream in range(1, READERS * 2, 2))

FLOODS = {
    "settings": Flood(same(settings({Setting.MAX_CONCURRENT_STREAMS: 1}))),
    "settings whose answers are not read": Flood(same(settings()), reads=False),
    "settings of the table of headers": Flood(same(settings({1: 0}) + settings({1: 2**32 - 1}))),
    "settings of windows with calls open": Flood(
        same(settings({4: 0}) + settings({4: 2**31 - 1})), before=settings(ONE_BYTE) + READS
    ),
    "settings of windows with many calls open": Flood(
        same(settings({4: 0}) + settings({4: 2**31 - 1})),
        before=b"".join(opened(stream) for stream in range(1, 1_400, 2)),
        takes_all=True,
    ),
    "answers to settings": Flood(same(frame(Kind.SETTINGS, flags=ACK)), WRONG),
    "pings": Flood(same(frame(Kind.PING, b"\0" * 8))),
    "pings whose answers are not read": Flood(same(frame(Kind.PING, b"\0" * 8)), reads=False),
    "answers to pings": Flood(same(frame(Kind.PING, b"\1" * 8, flags=ACK))),
    "resets of calls at once": Flood(streams(lambda stream: opened(stream) + reset(stream)), CALM),
    "resets of whole calls at once": Flood(streams(lambda stream: info(stream) + reset(stream)), CALM),
    "resets of calls under way": Flood(cancelled, or_outcome=CALM, takes_all=True),
    # If the server is slow to refuse, it stops to read before there were too many.
    "calls whose answers are not read": Flood(streams(info), CALM, reads=False, or_outcome="open", takes_all=True),
    "calls that send nothing": Flood(streams(opened), CALM, takes_all=True),
    "calls without headers": Flood(streams(lambda stream: headers(b"", stream)), CALM),
    "calls with a window of no bytes": Flood(streams(lambda stream: info(stream) + window(0, stream)), WRONG),
    "calls with too large a window": Flood(streams(lambda stream: opened(stream) + window(2**31 - 1, stream)), CALM),
    "empty data": Flood(same(frame(Kind.DATA, stream=1)), CALM, before=opened(1)),
    "data byte by byte": Flood(same(frame(Kind.DATA, b"\0", stream=1)), CALM, before=opened(1)),
    "data byte by byte between other frames": Flood(
        same(frame(Kind.DATA, b"\0", stream=1) + frame(0xEE, bytes(8_000))),
        CALM,
        before=settings({4: 0}) + read(1, ends=False),
    ),
    "data of a call that has ended": Flood(same(frame(Kind.DATA, b"more", stream=1)), CALM, before=info(1), answers=1),
    "continuations": Flood(same(frame(Kind.CONTINUATION, stream=1)), CALM, before=headers(b"", 1, 0)),
    "continuations with headers": Flood(
        same(frame(Kind.CONTINUATION, b"\x00\x01a\x01b" * 100, stream=1)), CALM, before=headers(b"", 1, 0)
    ),
    "windows": Flood(same(window(1))),
    "windows of a call that has ended": Flood(same(window(1, 1)), before=info(1), answers=1),
    "priorities": Flood(same(frame(Kind.PRIORITY, b"\0\0\0\0\1", stream=1))),
    "priorities of streams on themselves": Flood(
        streams(lambda stream: frame(Kind.PRIORITY, stream.to_bytes(4, "big") + b"\1", stream=stream)), CALM
    ),
    "frames of an unknown type": Flood(same(frame(0xEE, b"\0" * 8, stream=1))),
    "empty frames of an unknown type": Flood(same(frame(0xEE))),
    "reads of nothing": Flood(same(window(1)), before=settings({4: 0}) + READS),
    "reads byte by byte": Flood(same(BYTE_BY_BYTE), before=settings(ONE_BYTE) + READS),
    "reads byte by byte that are not read": Flood(same(BYTE_BY_BYTE), before=settings(ONE_BYTE) + READS, reads=False),
    "reads that are not read": Flood(
        same(window(1)), before=settings({4: 2**31 - 1}) + window(2**30) + READS, reads=False
    ),
}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("attacked"), "--log-level", "error") as running:
        with wire(running.address) as content:
            assert sha256(SMALL) == content.store(SMALL)
            assert sha256(LARGE) == content.store(LARGE)
            assert LARGE == content.read(sha256(LARGE))
        run(running, FLOODS["reads that are not read"], 0.2)  # it has its memory then
        eventually(lambda: running.threads <= IDLE_THREADS)
        before = running.descriptors, running.threads, running.memory
        yield running
        eventually(lambda: running.descriptors <= before[0])
        eventually(lambda: running.threads <= before[1])
        eventually(
            lambda: running.memory <= before[2] + MOST_LEFT
        )  # it is given back after a second without a connection
        print(f"{(running.memory - before[2]) / MIB:.1f} MiB of memory more at the end of all")
        assert (0, "") == running.end()


@contextmanager
def others_served(address: str, *, may_refuse: bool = False) -> Iterator[None]:
    """Have another client ask the whole time, and be answered, or told to come again where that is allowed."""
    over, errors, longest = threading.Event(), list[BaseException](), [0.0]

    def ask() -> None:
        try:
            with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = Wire(channel).content
                is_last = False
                while not is_last:
                    time.sleep(0.005)
                    is_last = over.is_set()
                    begun = time.monotonic()
                    try:
                        found = stub.Info(pb.InfoRequest(digest=sha256(SMALL)), timeout=ANSWER_SECONDS)
                    except grpc.RpcError as error:
                        if not (may_refuse and isinstance(error, grpc.Call) and error.code() is StatusCode.UNAVAILABLE):
                            raise
                    else:
                        assert len(SMALL) == found.info.size
                    longest.append(time.monotonic() - begun)
        except BaseException as error:  # noqa: BLE001 - raised by the test itself
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert [] == errors
    print(f"{len(longest) - 1} answers to another client, at most {max(longest):.3f} s each")


@contextmanager
def nothing_left(process: Serving, most: int = MOST_MEMORY) -> Iterator[None]:
    """Expect that descriptors and threads are soon as before, and that the memory had a bound meanwhile."""
    before = process.descriptors, process.threads
    process.forget_peak()
    memory = process.memory
    yield
    print(f"{(process.peak - memory) / MIB:.1f} MiB of memory at most")
    assert process.peak <= memory + most
    eventually(lambda: process.descriptors <= before[0])
    eventually(lambda: process.threads <= before[1] + IDLE_THREADS)
    assert process.process.poll() is None


def run(process: Serving, flood: Flood, seconds: float) -> str:
    """Send a flood, and return how the server took it."""
    with Peer(process.path) as peer:
        peer.send([flood.before])
        assert peer.read(lambda: peer.ended >= flood.answers)
        # One that is to be ended goes on until it is, however slow the machine.
        lasting = seconds if flood.outcome == "open" else SECONDS
        sent = peer.send(flood.chunks(), reads=flood.reads, seconds=lasting, patience=PATIENCE)
        outcome = peer.outcome()
        print(f"{sent} bytes sent, {peer.received} received: {outcome}")
    return outcome


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_ended_or_bounded(process: Serving, name: str) -> None:
    flood = FLOODS[name]
    with nothing_left(process), others_served(process.address, may_refuse=flood.takes_all):
        outcome = run(process, flood, 0.25)

    assert outcome in {flood.outcome, flood.or_outcome}


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_floods_of_many_clients_at_once_are_ended_or_bounded(process: Serving, name: str) -> None:
    clients, flood = 8, FLOODS[name]
    with (
        nothing_left(process, clients * MOST_MEMORY // 2),
        others_served(process.address, may_refuse=flood.takes_all),
        ThreadPoolExecutor(clients) as threads,
    ):
        outcomes = list(threads.map(lambda _: run(process, flood, 2), range(clients)))

    assert set(outcomes) <= {flood.outcome, flood.or_outcome}


ASKING = {
    "Write": (CONTENT + "Write", pb.WriteContentRequest(ref="a").SerializeToString(), b""),
    "reflection": ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"\x3a\x00", b"\x3a\x00"),
}
"""Calls with an answer for each message: the first message, and a further one that has a larger answer."""


@pytest.mark.parametrize("name", ASKING)
def test_a_client_that_asks_and_takes_no_answer_is_not_listened_to(process: Serving, name: str) -> None:
    path, first, further = ASKING[name]
    many = struct.pack(">BI", 0, len(further)) + further
    many *= 15_000 // len(many)
    with nothing_left(process), others_served(process.address), Peer(process.path, PREFACE + settings({4: 0})) as peer:
        peer.send([call(path, first, 1, ends=False)])
        sent = len(first) + 5
        for _ in range(200):  # 3 MB, with answers of 40 MB and more
            if not peer.read(lambda: min(peer.windows[0], peer.windows[1]) + 65_535 >= sent + len(many), 0.5):  # noqa: B023
                break
            peer.send([frame(Kind.DATA, many, stream=1)])
            sent += len(many)

        assert sent < MIB
        assert peer.answers()


def test_a_request_that_is_large_once_it_is_decoded_is_refused(process: Serving) -> None:
    """A million empty filters take two bytes each on the wire, and a string each in memory."""
    with nothing_left(process), others_served(process.address), wire(process.address) as content:
        ask: Any = content.channel.unary_unary(CONTENT + "ListStatuses")
        for size, code in ((2 * MIB, StatusCode.INVALID_ARGUMENT), (16 * MIB, StatusCode.RESOURCE_EXHAUSTED)):
            with pytest.raises(grpc.RpcError) as caught:
                ask(b"\x0a\x00" * (size // 2), timeout=SECONDS)
            assert isinstance(caught.value, grpc.Call)
            assert code is caught.value.code()


def test_clients_that_connect_and_say_nothing_hold_up_no_other(process: Serving) -> None:
    with nothing_left(process), others_served(process.address):
        silent = [Peer(process.path, first) for first in (b"", PREFACE[:9], PREFACE) for _ in range(100)]
        time.sleep(0.2)
        for peer in silent:
            peer.close()


@pytest.mark.slow
def test_a_connection_that_does_not_begin_is_closed_after_ten_seconds(process: Serving) -> None:
    with nothing_left(process), Peer(process.path, b"") as silent, Peer(process.path, PREFACE[:-1]) as cut:
        assert not silent.read(lambda: silent.is_closed, BEGIN_SECONDS - 2)
        assert silent.read(lambda: silent.is_closed, SECONDS)
        assert cut.read(lambda: cut.is_closed, SECONDS)


def test_a_connection_that_breaks_off_within_a_frame_leaves_nothing(process: Serving) -> None:
    whole = info(1)
    with nothing_left(process), others_served(process.address):
        for size in range(0, len(whole), 7):
            with Peer(process.path) as peer:
                peer.send([whole[:size]])


def test_a_window_that_shrinks_within_a_read_loses_no_byte(process: Serving) -> None:
    with Peer(process.path, PREFACE + settings({Setting.INITIAL_WINDOW_SIZE: 100_000})) as peer:
        peer.send([window(2**30), read(1)])
        assert peer.read(lambda: peer.data >= 100_000)
        peer.send([settings({Setting.INITIAL_WINDOW_SIZE: size}) for size in (0, 1, 50_000, 100_000)])
        assert peer.answers()
        assert 100_000 == peer.data
        peer.send([settings({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1})])
        assert peer.read(lambda: peer.data >= len(LARGE))
        assert "open" == peer.outcome()


@pytest.mark.parametrize("kind", ["memory-asyncio", "memory-trio"])
@pytest.mark.parametrize("name", ["pings", "resets of whole calls at once", "resets of calls under way", "empty data"])
def test_a_store_in_an_event_loop_is_as_safe(served: Server, content: Wire, name: str) -> None:
    content.store(SMALL)
    # Such a store is slow: the calls that were cancelled count until it has done its part.
    with others_served(served.address, may_refuse=FLOODS[name].takes_all), Peer(served.path) as peer:
        peer.send([FLOODS[name].before])
        peer.send(FLOODS[name].chunks(), seconds=0.1, patience=PATIENCE)

        assert peer.outcome() in {FLOODS[name].outcome, FLOODS[name].or_outcome}


@pytest.mark.anyio
async def test_the_end_of_a_server_waits_for_no_client_that_says_nothing(
    local_store: LocalStore, short_path: Path
) -> None:
    async with AsyncExitStack() as peers:
        async with Server(local_store, short_path / "s", grace_seconds=1) as server:
            for first in (b"", PREFACE[:9], PREFACE, PREFACE + settings() + opened(1)):
                peers.enter_context(Peer(server.path, first))
            await off_loop(lambda: peers.enter_context(Peer(server.path)).answers())
            begun = time.monotonic()
        assert time.monotonic() - begun < BEGIN_SECONDS
