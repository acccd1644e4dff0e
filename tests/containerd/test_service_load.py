"""Many, slow and rude clients have no lasting effect on the service."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc import StatusCode

from steelyard_bench._proto import content_pb2 as pb
from steelyard_bench._proto import content_pb2_grpc

from .frames import PREFACE, Peer, Setting, call, settings, window
from .proxied import eventually
from .serving import Serving, serving
from .wire import SECONDS, Wire, sha256, wire

MIB = 1 << 20
CONTENT = "/containerd.services.content.v1.Content/"
EAGER = PREFACE + settings({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}) + window(2**31 - 65_536)
"""The beginning of a client that lets the server send as much as it likes."""
STREAMS = 10_000
AT_ONCE = 200


@pytest.fixture
def process(short_path: Path) -> Iterator[Serving]:
    with serving(short_path, "--log-level", "error") as running:
        yield running


async def open_and_drop(address: str, number: int) -> None:
    """Open streams, each in one of several ways, and drop them, each at one of several moments."""
    chosen = random.Random(number)
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = content_pb2_grpc.ContentStub(channel)  # type: ignore[no-untyped-call]  # generated
        calls = []
        for place in range(AT_ONCE):
            call = stub.Write(timeout=SECONDS) if chosen.random() < 0.8 else stub.List(pb.ListContentRequest())
            calls.append(call)
            if chosen.random() < 0.5 and hasattr(call, "write"):
                with suppress(grpc.RpcError):  # it may have been refused already: the ref is another's
                    await call.write(pb.WriteContentRequest(action=pb.WRITE, ref=f"storm {place % 50}", data=b"x"))
            if chosen.random() < 0.5:
                call.cancel()
        if chosen.random() < 0.5:
            for call in calls:
                call.cancel()
    # What was not cancelled goes with its connection.


@contextmanager
def wire_alone(address: str) -> Iterator[Wire]:
    """Connect by a connection of its own."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        connected = Wire(channel)
        try:
            yield connected
        finally:
            connected.close()


def settle(process: Serving, connected: Wire) -> None:
    """Wait until the service has noticed that the clients are gone: each ref can then be had."""
    gc.collect()  # a connection of ours that is garbage is still open
    deadline = threading.Event()
    timer = threading.Timer(SECONDS, deadline.set)
    timer.start()
    statuses = connected.content.ListStatuses(pb.ListStatusesRequest(), timeout=SECONDS).statuses
    for status in statuses:
        while not deadline.is_set():
            call = connected.content.Write(iter([pb.WriteContentRequest(ref=status.ref)]), timeout=SECONDS)
            try:
                list(call)
            except grpc.RpcError:
                assert StatusCode.UNAVAILABLE is call.code()
            else:
                break
        connected.content.Abort(pb.AbortRequest(ref=status.ref), timeout=SECONDS)
    assert not deadline.is_set()
    timer.cancel()
    timer.join()
    assert process.process.poll() is None


@pytest.mark.slow
def test_ten_thousand_streams_opened_and_dropped_leave_nothing(process: Serving) -> None:
    async def storm(rounds: range) -> None:
        for number in rounds:
            await open_and_drop(process.address, number)

    asyncio.run(storm(range(5)))  # it has its threads and its memory then
    with wire(process.address) as connected:
        settle(process, connected)
        before = process.descriptors, process.threads, process.memory
        asyncio.run(storm(range(STREAMS // AT_ONCE)))
        settle(process, connected)

        eventually(lambda: process.descriptors <= before[0])  # gRPC closes a connection after its last call
        assert process.threads <= before[1] + 256
        assert process.memory <= before[2] + 64 * MIB
        assert b"fine" == connected.read(connected.store(b"fine"))
    assert (0, "") == process.end()


@pytest.mark.slow
def test_slow_readers_cost_a_message_each(process: Serving) -> None:
    data = random.Random(0).randbytes(8 * MIB)
    with wire(process.address) as connected:
        parts = [pb.WriteContentRequest(action=pb.WRITE, ref="a", offset=at * 8 * MIB, data=data) for at in range(8)]
        digest = connected.write(*parts, pb.WriteContentRequest(action=pb.COMMIT, offset=64 * MIB))[-1].digest
        connected.read(digest)
        before = process.memory
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.insecure_channel(process.address, options=options) for _ in range(40)]
        calls = [Wire(channel).content.Read(pb.ReadContentRequest(digest=digest)) for channel in channels]
        for call in calls:
            assert MIB == len(next(call).data)

        # Each has got a message, and would get 63 more: 2.5 GiB. The rest of the service goes on meanwhile.
        assert data == connected.read(digest, 0, 8 * MIB)
        assert process.memory < before + len(calls) * 6 * MIB
        for channel in channels:
            channel.close()
        settle(process, connected)
    assert (0, "") == process.end()


@pytest.mark.slow
@pytest.mark.parametrize("connections", [4, 256])
def test_256_writers_and_256_readers_that_take_nothing_cost_128_mib(process: Serving, connections: int) -> None:
    """They are all that the service admits. Each reader lets it send as much as it likes and takes nothing of it."""
    data = random.Random(0).randbytes(8 * MIB)
    with wire(process.address) as connected, ExitStack() as stack:
        parts = [pb.WriteContentRequest(action=pb.WRITE, ref="a", offset=at * 8 * MIB, data=data) for at in range(2)]
        digest = connected.write(*parts, pb.WriteContentRequest(action=pb.COMMIT, offset=16 * MIB))[-1].digest
        connected.read(digest)
        before = process.memory
        process.forget_peak()

        read = pb.ReadContentRequest(digest=digest).SerializeToString()
        peers = [stack.enter_context(Peer(process.path, EAGER)) for _ in range(connections)]
        for number in range(255):  # and one for us
            peers[number % connections].send([call(CONTENT + "Read", read, number // connections * 2 + 1)], reads=False)
        wires = [stack.enter_context(wire_alone(process.address)) for _ in range(connections)]
        talks = [wires[number % connections].talk() for number in range(256)]

        def write(number: int) -> None:
            for at in range(2):
                talks[number].ask(pb.WRITE, ref=str(number), offset=at * MIB, data=data[:MIB])

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(write, range(256)))
        assert 256 == len(connected.content.ListStatuses(pb.ListStatusesRequest(), timeout=SECONDS).statuses)
        print(f"{connections} + {connections} connections: {(process.peak - before) / MIB:.1f} MiB at most")
        assert process.peak <= before + 128 * MIB
    with wire(process.address) as connected:
        settle(process, connected)
    assert (0, "") == process.end()


@pytest.mark.slow
def test_writers_that_cancel_at_any_moment_lose_nothing_that_was_acknowledged(process: Serving) -> None:
    """Several clients append to refs of their own, cancel, and go on where they are told to, until all is there."""
    data = random.Random(1).randbytes(600_000)
    errors: list[BaseException] = []

    def append(ref: str, connected: Wire, chosen: random.Random) -> None:
        acknowledged = 0
        for _ in range(10_000):
            talk = connected.talk()
            try:
                offset = talk.ask(ref=ref).offset
                assert acknowledged <= offset
                while offset < len(data):
                    piece = data[offset : offset + chosen.randrange(1, 40_000)]
                    offset = acknowledged = talk.ask(pb.WRITE, offset=offset, data=piece).offset
                    if chosen.random() < 0.2:
                        talk.cancel()
                        break
                else:
                    done = talk.ask(pb.COMMIT, offset=offset, expected=sha256(data), labels={"ref": ref})
                    assert sha256(data) == done.digest
                    return
            except grpc.RpcError:
                if talk.call.code() is StatusCode.ALREADY_EXISTS:
                    return
                assert talk.call.code() is StatusCode.UNAVAILABLE  # the last one is not closed yet
                talk.cancel()  # for the thread that waits for its next message: there may be very many tries
        raise AssertionError("it never ended")

    def run(number: int) -> None:
        try:
            with wire(process.address) as connected:
                append(f"ref {number}", connected, random.Random(number))
        except BaseException as error:  # noqa: BLE001 - raised by the test itself
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == errors
    with wire(process.address) as connected:
        assert data == connected.read(sha256(data))
        assert [] == list(connected.content.ListStatuses(pb.ListStatusesRequest()).statuses)
    assert (0, "") == process.end()
