"""Limits, one by one: sizes, numbers, idle clients, malformed messages."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from anyio.from_thread import start_blocking_portal
from grpc import StatusCode

from steelyard import InvalidArgument, LocalStore, MemoryStore
from steelyard.containerd.service import Server
from steelyard_bench._proto import content_pb2 as pb

from .clock import Clock
from .proxied import eventually
from .wire import SECONDS, Talk, Wire, refused, wire

MIB = 1 << 20
CONTENT = "/containerd.services.content.v1.Content/"
NAMES = ("Info", "Update", "List", "Delete", "Read", "Status", "ListStatuses", "Write", "Abort")


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Wire]:
    """Serve a store with these settings, and connect to it."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(LocalStore(folder / "store", durability="process-crash")) as store,
        portal.wrap_async_context_manager(Server(store, folder / "s", **settings)) as server,
        wire(server.address) as connected,
    ):
        yield connected


@contextmanager
def silence() -> Iterator[Iterator[bytes]]:
    """Give requests that never come, until the block ends."""
    over = threading.Event()

    def wait() -> Iterator[bytes]:
        over.wait(SECONDS)
        yield from ()

    try:
        yield wait()
    finally:
        over.set()


def test_a_message_over_the_limit_is_resource_exhausted_and_harms_nothing(content: Wire) -> None:
    talk = content.talk()
    talk.ask(pb.WRITE, ref="a", data=b"kept")
    with refused_plainly(StatusCode.RESOURCE_EXHAUSTED):
        talk.ask(pb.WRITE, offset=4, data=bytes(16 * MIB))
    for name in ("Info", "Abort"):
        call: Any = content.channel.unary_unary(CONTENT + name)
        with refused_plainly(StatusCode.RESOURCE_EXHAUSTED):
            call(bytes(16 * MIB + 1), timeout=SECONDS)

    just = bytes(16 * MIB - 64)
    assert just == content.read(content.store(just, ref="just"))
    assert 4 == content.content.Status(pb.StatusRequest(ref="a")).status.offset


def test_a_limit_of_messages_can_be_set_and_a_read_keeps_to_its_own(short_path: Path) -> None:
    with serving(short_path, message_bytes=40 * MIB, read_bytes=3 * MIB) as content:
        digest = content.store(bytes(33 * MIB))
        sizes = [len(answer.data) for answer in content.content.Read(pb.ReadContentRequest(digest=digest))]

    assert [3 * MIB] * 11 == sizes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("read_bytes", 0),
        ("read_bytes", 16 * MIB),
        ("message_bytes", 0),
        ("message_bytes", 1 << 32),
        ("message_bytes", 1 << 70),
        ("calls", 0),
        ("calls", 1 << 62),
        ("calls", 1 << 70),
        ("idle_seconds", 0),
        ("idle_seconds", math.nan),
        ("wait_seconds", -1),
        ("wait_seconds", math.nan),
        ("grace_seconds", -1),
        ("grace_seconds", math.nan),
    ],
)
def test_limits_that_cannot_be_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidArgument, match=name):
        Server(MemoryStore(), "/tmp/s", **{name: value})  # type: ignore[arg-type]


def test_more_writers_than_the_limit_are_to_come_again_until_one_ends(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(short_path, calls=4) as content:
        talks = [content.talk() for _ in range(4)]
        for number, talk in enumerate(talks):
            talk.ask(ref=str(number))
        with refused(StatusCode.UNAVAILABLE, "4 Write calls are open, the most that --calls allows"):
            content.talk().ask(ref="one more")
        eventually(lambda: "4 Write calls are open" in caplog.text)  # the log comes by the event loop

        talks[0].end()
        until_written(content)
        talks[1].ask(pb.WRITE, data=b"still fine")


@contextmanager
def refusing_writes(folder: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Talk]:
    """Give a Write call that is over the limit and has sent nothing yet."""
    with serving(folder, calls=1) as content:
        content.talk().ask(ref="the one")
        over = content.talk()
        end = time.monotonic() + SECONDS
        while "1 Write calls are open" not in caplog.text:
            assert time.monotonic() < end, "the call was not refused"
            time.sleep(0.01)
        yield over


def test_a_refused_write_ends_after_its_first_request_so_that_its_client_sees_the_error(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing_writes(short_path, caplog) as over:
        active = over.call.is_active()
        with refused(StatusCode.UNAVAILABLE, "1 Write calls are open"):
            over.ask(ref="one more")

    assert active


def test_a_refused_write_that_sends_nothing_ends_soon_with_the_same_error(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing_writes(short_path, caplog) as over, refused(StatusCode.UNAVAILABLE, "1 Write calls are open"):
        next(over.call)


@pytest.mark.slow
def test_256_open_writers_leave_room_for_all_other_calls(short_path: Path) -> None:
    with serving(short_path) as content:
        digest = content.store(b"data")
        talks = [content.talk() for _ in range(256)]
        for number, talk in enumerate(talks):
            talk.ask(pb.WRITE, ref=str(number), data=b"x")
        for _ in range(3):
            with refused(StatusCode.UNAVAILABLE, "256 Write calls are open"):
                content.talk().ask(ref="one more")
            assert 4 == content.content.Info(pb.InfoRequest(digest=digest), timeout=SECONDS).info.size
            assert b"data" == content.read(digest)
            assert 256 == len(content.content.ListStatuses(pb.ListStatusesRequest(), timeout=SECONDS).statuses)


def test_other_calls_have_a_limit_of_their_own_with_a_name(short_path: Path) -> None:
    with serving(short_path, calls=1) as content, silence() as requests:
        method: Any = content.channel.stream_stream(CONTENT + "List")
        held = method(requests, timeout=SECONDS)
        talk = content.talk()
        talk.ask(ref="a")
        until_refused(content, "1 calls other than Write are open, the most that --calls allows")
        talk.ask(pb.WRITE, data=b"still fine")
        held.cancel()
        until_answered(content)


def test_a_silent_writer_gets_an_error_at_its_deadline_and_its_ingest_is_kept(short_path: Path, clock: Clock) -> None:
    with serving(short_path, idle_seconds=1) as content:
        talk = content.talk()
        talk.ask(pb.WRITE, ref="idle", data=b"kept")
        clock.pass_until_idle()
        with refused(StatusCode.DEADLINE_EXCEEDED, "Write idle", "1 s"):
            next(talk.call)

        resumed = content.talk()
        assert 4 == resumed.ask(ref="idle").offset
        assert 12 == resumed.ask(pb.COMMIT, offset=4, data=b"and more").offset


@pytest.mark.parametrize("name", NAMES)
def test_a_call_without_a_message_does_not_hold_a_thread_for_ever(short_path: Path, clock: Clock, name: str) -> None:
    with serving(short_path, idle_seconds=0.2, calls=1) as content, silence() as requests:
        method: Any = content.channel.stream_stream(CONTENT + name)
        call = method(requests, timeout=SECONDS)
        clock.pass_until_idle()
        with pytest.raises(grpc.RpcError):
            next(call)

        assert call.code() in {StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}
        until_answered(content)


def test_a_reader_that_takes_nothing_is_cut_off(short_path: Path, clock: Clock) -> None:
    with serving(short_path) as content:
        chunk, last = bytes(8 * MIB), 24 * MIB
        parts = [
            pb.WriteContentRequest(action=pb.WRITE, ref="a", offset=at, data=chunk) for at in range(0, last, 8 * MIB)
        ]
        digest = content.write(*parts, pb.WriteContentRequest(action=pb.COMMIT, offset=last, data=chunk))[-1].digest
    with serving(short_path, idle_seconds=0.2, calls=1) as content, wire_alone(content, short_path) as slow:
        call = slow.content.Read(pb.ReadContentRequest(digest=digest))
        assert MIB == len(next(call).data)
        clock.pass_until_idle()
        until_answered(content)
        with pytest.raises(grpc.RpcError):
            list(call)


def test_a_client_that_answers_in_time_is_not_idle(short_path: Path, clock: Clock) -> None:
    with serving(short_path, idle_seconds=3) as content:
        talk = content.talk()
        talk.ask(ref="a")
        for _ in range(4):
            clock.pass_by(1)  # a client that thinks
            talk.ask()
        clock.pass_until_idle()
        with pytest.raises(grpc.RpcError):
            talk.ask()


def test_bytes_that_are_no_message_are_an_invalid_argument(content: Wire) -> None:
    for name in NAMES:
        call: Any = content.channel.stream_stream(CONTENT + name)
        for data in (b"\xff", b"\x0a\xff", b"\x3a\x7f" + os.urandom(100), b"\x32\xff\xff\xff\xff\x0f" + bytes(40_000)):
            with refused(StatusCode.INVALID_ARGUMENT):
                list(call(iter([data]), timeout=SECONDS))


def test_an_empty_message_is_a_message(content: Wire) -> None:
    for name in ("Info", "Delete", "Update", "Read", "Status", "Abort", "Write"):
        call: Any = content.channel.stream_stream(CONTENT + name)
        with refused(StatusCode.INVALID_ARGUMENT):
            list(call(iter([b""]), timeout=SECONDS))


@contextmanager
def refused_plainly(code: StatusCode) -> Iterator[None]:
    """Expect a refusal by gRPC itself, whose words are its own."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert isinstance(caught.value, grpc.Call)
    assert code is caught.value.code()


@contextmanager
def wire_alone(content: Wire, folder: Path) -> Iterator[Wire]:
    """Connect by a connection of its own: a call that stops on it stops no other client."""
    del content
    with grpc.insecure_channel(f"unix:{folder}/s", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield Wire(channel)


def until_refused(content: Wire, words: str) -> None:
    """Ask until another call, which the service may not have seen yet, takes up the limit."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        call = content.content.List(pb.ListContentRequest(), timeout=SECONDS)
        try:
            list(call)
        except grpc.RpcError:
            assert StatusCode.UNAVAILABLE is call.code()
            assert words in (call.details() or "")
            return
    pytest.fail("all calls were answered")


def until_written(content: Wire) -> None:
    """Write until there is room for it, as clients do."""
    end = time.monotonic() + SECONDS
    while True:
        talk = content.talk()
        try:
            talk.ask(ref="one more")
        except grpc.RpcError:
            talk.cancel()  # for the thread that waits for its next message
            assert time.monotonic() < end
        else:
            return


def until_answered(content: Wire) -> None:
    """Ask until there is room for it. A call that has ended counts a moment longer, which nothing tells."""
    end = time.monotonic() + SECONDS
    while True:
        call = content.content.List(pb.ListContentRequest(), timeout=SECONDS)
        try:
            list(call)
        except grpc.RpcError:
            assert StatusCode.UNAVAILABLE is call.code()
            assert time.monotonic() < end
        else:
            return


def test_an_answer_over_the_limit_is_resource_exhausted_in_words(short_path: Path) -> None:
    with serving(short_path, message_bytes=2 * MIB) as content:
        for letter in "abc":
            content.write(pb.WriteContentRequest(ref=letter * MIB))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "the answer has 3"):
            content.content.ListStatuses(pb.ListStatusesRequest())
        filtered = content.content.ListStatuses(pb.ListStatusesRequest(filters=["ref~=^a"]))
        assert 1 == len(filtered.statuses)
