"""A plain client of the protocol, for tests: messages in, messages and codes out."""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio.to_thread
import grpc
import pytest
from grpc import StatusCode

from steelyard.containerd._code import Code
from steelyard.containerd.service._codes import SUFFIXES
from steelyard_bench._proto import content_pb2 as pb
from steelyard_bench._proto import content_pb2_grpc, images_pb2_grpc

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]

SECONDS = 60
"""Longer than any call should take; a hang is then an error with a name."""


class Wire:
    """A channel and its stubs."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self._talks: list[Talk] = []
        self.content = content_pb2_grpc.ContentStub(channel)  # type: ignore[no-untyped-call]  # generated
        self.images = images_pb2_grpc.ImagesStub(channel)  # type: ignore[no-untyped-call]  # generated

    def write(self, *requests: pb.WriteContentRequest, metadata: Metadata = ()) -> list[pb.WriteContentResponse]:
        """Send messages that do not depend on their answers, end the stream, and return all answers."""
        return list(self.content.Write(iter(requests), timeout=SECONDS, metadata=metadata))

    def store(self, data: bytes, ref: str = "stored", **labels: str) -> str:
        """Store a blob in one message and return its digest."""
        (last,) = self.write(pb.WriteContentRequest(action=pb.COMMIT, ref=ref, data=data, labels=labels))
        return last.digest

    def read(self, digest: str, offset: int = 0, size: int = 0) -> bytes:
        """Return a range of a blob."""
        request = pb.ReadContentRequest(digest=digest, offset=offset, size=size)
        return b"".join(response.data for response in self.content.Read(request, timeout=SECONDS))

    def talk(self, metadata: Metadata = ()) -> Talk:
        """Begin a Write call in which each message may depend on the answers before it."""
        self._talks.append(Talk(self.content, metadata))
        return self._talks[-1]

    def close(self) -> None:
        """End what is still open, so that no thread of gRPC's waits for another message."""
        for talk in self._talks:
            talk.cancel()


class Talk:
    """A Write call, message by message."""

    def __init__(self, stub: content_pb2_grpc.ContentStub, metadata: Metadata = ()) -> None:
        self._requests: queue.SimpleQueue[pb.WriteContentRequest | None] = queue.SimpleQueue()
        self.call = stub.Write(iter(self._requests.get, None), timeout=SECONDS, metadata=metadata)

    def ask(self, action: pb.WriteAction = pb.STAT, **fields: object) -> pb.WriteContentResponse:
        """Send a message and return its answer."""
        self._requests.put(pb.WriteContentRequest(action=action, **fields))  # type: ignore[arg-type]
        response: pb.WriteContentResponse = next(self.call)
        return response

    def end(self) -> list[pb.WriteContentResponse]:
        """End the stream and return what still comes."""
        self._requests.put(None)
        return list(self.call)

    def cancel(self) -> None:
        """Cancel the call, if it has not ended."""
        self.call.cancel()
        self._requests.put(None)


@contextmanager
def wire(address: str) -> Iterator[Wire]:
    """Connect to a service."""
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
    with grpc.insecure_channel(address, options=options) as channel:
        connected = Wire(channel)
        try:
            yield connected
        finally:
            connected.close()


@contextmanager
def refused(code: StatusCode, *words: str) -> Iterator[None]:
    """Expect a call to end with a code, and a message that has these words."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert code is error.code(), error
    for word in (*words, SUFFIXES[Code[code.name]]):
        assert word in (error.details() or ""), error


async def off_loop(function: Callable[[], T]) -> T:
    """Run a client's blocking calls beside the event loop of the service."""
    return await anyio.to_thread.run_sync(function)


def sha256(data: bytes) -> str:
    """Return a digest by the standard library's reckoning."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
