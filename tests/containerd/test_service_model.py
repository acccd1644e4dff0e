"""Random sequences of valid messages, on several streams at once, against a model of the protocol."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import grpc
import pytest
from grpc import StatusCode

from steelyard_bench._proto import content_pb2 as pb

from .wire import SECONDS, Talk, Wire, sha256

REFS = ("a", "ns/1/b", "c")
BLOBS = [bytes([65 + number]) * size for number, size in enumerate((0, 1, 10, 5000, 70_000))]
"""Few enough that they meet again; the last one goes past protobuf."""


@dataclass
class Kept:
    """An ingest."""

    data: bytes = b""
    total: int = 0


@dataclass
class Stream:
    """A stream that is open."""

    ref: str
    talk: Talk
    total: int = 0
    expected: str = ""
    fenced: bool = False


@dataclass
class Model:
    """The service, as docs/containerd.md has it."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)

    def open(self, stream: Stream, message: pb.WriteContentRequest) -> StatusCode:
        if stream.ref in self.held:
            return StatusCode.UNAVAILABLE
        known = self.blobs.get(message.expected)
        if known is not None and message.total in {0, len(known)}:
            self.kept.pop(stream.ref, None)
            return StatusCode.ALREADY_EXISTS
        kept = self.kept.setdefault(stream.ref, Kept())
        kept.total = message.total or kept.total
        stream.total, stream.expected = message.total, message.expected
        self.held.add(stream.ref)
        return StatusCode.OK

    def answer(self, stream: Stream, message: pb.WriteContentRequest) -> tuple[StatusCode, tuple[int, int, str]]:
        nothing = (0, 0, "")
        if stream.fenced:
            return StatusCode.ABORTED, nothing
        kept = self.kept[stream.ref]
        changed = message.expected not in {"", stream.expected}
        stream.total, stream.expected = message.total or stream.total, message.expected or stream.expected
        if changed and stream.expected in self.blobs:
            del self.kept[stream.ref]
            return StatusCode.ALREADY_EXISTS, nothing
        if message.action != pb.STAT:
            if message.offset == 0:
                kept.data = b""
            elif message.offset != len(kept.data):
                return StatusCode.OUT_OF_RANGE, nothing
            kept.data += message.data
        size, digest = len(kept.data), sha256(kept.data)
        if message.action != pb.COMMIT:
            return StatusCode.OK, (size, stream.total or kept.total, digest)
        if stream.total not in {0, size} or stream.expected not in {"", digest}:
            return StatusCode.FAILED_PRECONDITION, nothing
        del self.kept[stream.ref]
        if digest in self.blobs:
            return StatusCode.ALREADY_EXISTS, nothing
        self.blobs[digest] = kept.data
        return StatusCode.OK, (size, stream.total or size, digest)

    def close(self, stream: Stream) -> None:
        if not stream.fenced:
            self.held.discard(stream.ref)


class Run:
    """One sequence."""

    def __init__(self, seed: int, content: Wire) -> None:
        self.random = random.Random(seed)
        self.content = content
        self.model = Model()
        self.streams: list[Stream] = []

    def message(self, ref: str, kept: bytes) -> pb.WriteContentRequest:
        choose = self.random.choice
        action = choose((pb.STAT, pb.WRITE, pb.WRITE, pb.COMMIT))
        data = b"" if action == pb.STAT else choose(BLOBS)
        whole = kept + data
        return pb.WriteContentRequest(
            action=action,
            ref=ref,
            data=data,
            offset=choose((0, len(kept), len(kept), len(kept), len(kept) + 1)),
            total=choose((0, 0, 0, len(whole), len(data), 7)),
            expected=choose(("", "", "", sha256(whole), sha256(data), *map(sha256, BLOBS[:2]))),
        )

    def say(self, stream: Stream, message: pb.WriteContentRequest) -> None:
        """Send a message, and compare the answer."""
        code, expected = self.model.answer(stream, message)
        self.compare(stream, message, code, expected)
        if code is not StatusCode.OK or message.action == pb.COMMIT:
            self.finish(stream)

    def compare(
        self, stream: Stream, message: pb.WriteContentRequest, code: StatusCode, expected: tuple[int, int, str]
    ) -> None:
        fields = {name.name: value for name, value in message.ListFields() if name.name != "action"}
        try:
            response = stream.talk.ask(message.action, **fields)
        except grpc.RpcError:
            assert code is stream.talk.call.code()
        else:
            assert (code, expected) == (StatusCode.OK, (response.offset, response.total, response.digest))

    def finish(self, stream: Stream) -> None:
        self.model.close(stream)
        self.streams.remove(stream)
        stream.talk.cancel()

    def open(self) -> None:
        stream = Stream(self.random.choice(REFS), self.content.talk())
        self.streams.append(stream)
        kept = self.model.kept.get(stream.ref, Kept())
        message = self.message(stream.ref, kept.data)
        code = self.model.open(stream, message)
        if code is StatusCode.OK:
            self.say(stream, message)
        else:
            self.compare(stream, message, code, (0, 0, ""))
            self.streams.remove(stream)
            stream.talk.cancel()

    def end(self) -> None:
        if self.streams:
            stream = self.random.choice(self.streams)
            assert [] == stream.talk.end()
            self.finish(stream)

    def go_on(self) -> None:
        if self.streams:
            stream = self.random.choice(self.streams)
            kept = self.model.kept.get(stream.ref, Kept())
            self.say(stream, self.message("", kept.data))

    def abort(self) -> None:
        ref = self.random.choice(REFS)
        call = self.content.content.Abort.with_call
        if self.model.kept.pop(ref, None) is None:
            exact = (("steelyard-exact", "1"),)
            with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
                call(pb.AbortRequest(ref=ref), timeout=SECONDS, metadata=exact)
            call(pb.AbortRequest(ref=ref), timeout=SECONDS)
            return
        call(pb.AbortRequest(ref=ref), timeout=SECONDS)
        self.model.held.discard(ref)
        for stream in self.streams:
            stream.fenced = stream.fenced or stream.ref == ref

    def delete(self) -> None:
        if self.model.blobs:
            digest = self.random.choice(sorted(self.model.blobs))
            self.content.content.Delete(pb.DeleteContentRequest(digest=digest), timeout=SECONDS)
            del self.model.blobs[digest]

    def check(self) -> None:
        """Compare all that is stored, and all ingests."""
        pages = self.content.content.List(pb.ListContentRequest(), timeout=SECONDS)
        assert sorted(self.model.blobs) == [info.digest for page in pages for info in page.info]
        for digest, data in self.model.blobs.items():
            assert data == self.content.read(digest)
        statuses = self.content.content.ListStatuses(pb.ListStatusesRequest(), timeout=SECONDS).statuses
        kept = {ref: (len(kept.data), kept.total) for ref, kept in self.model.kept.items()}
        assert kept == {status.ref: (status.offset, status.total) for status in statuses}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_sequences_of_messages_agree_with_the_model(content: Wire, seed: int) -> None:
    run = Run(seed, content)
    steps = [run.open] * 3 + [run.go_on] * 12 + [run.end] * 2 + [run.abort, run.delete, run.check]
    for _ in range(150):
        run.random.choice(steps)()
    while run.streams:
        run.end()
    run.check()
