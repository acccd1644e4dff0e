"""A plain client of containerd's content protocol: grpcio and its generated stubs, used in the usual way.

Imported when it is used: gRPC is slow to import.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from steelyard._runtime.threads import Pool
from steelyard_bench._proto import content_pb2 as pb
from steelyard_bench._proto import content_pb2_grpc

__all__ = ("NAMESPACE", "Client", "client")

NAMESPACE = "bench"
"""containerd insists on one; ours does not care."""

MESSAGE = 4 << 20
IN_FLIGHT = 2
"""Messages of one stream that have no answer yet: a client that waited for each would measure its own waits."""

AT_ONCE = 8

_SECONDS = 600.0
_HEADERS = (("containerd-namespace", NAMESPACE),)
_OPTIONS = (("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20))


class Client:
    """A connection to a server, containerd or ours.

    Args:
        channel: it is open.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        grpc.channel_ready_future(channel).result(timeout=30)
        self._content: Any = content_pb2_grpc.ContentStub(channel)  # type: ignore[no-untyped-call]  # generated

    def write(self, ref: str, data: bytes) -> str:
        """Store bytes in one stream and return the digest."""
        requests: queue.SimpleQueue[pb.WriteContentRequest | None] = queue.SimpleQueue()
        call = self._content.Write(iter(requests.get, None), metadata=_HEADERS, timeout=_SECONDS)
        requests.put(pb.WriteContentRequest(action=pb.STAT, ref=ref, total=len(data)))
        next(call)
        waiting = 0
        with memoryview(data) as whole:
            for offset in range(0, len(data), MESSAGE):
                piece = bytes(whole[offset : offset + MESSAGE])
                requests.put(pb.WriteContentRequest(action=pb.WRITE, offset=offset, data=piece))
                waiting += 1
                if waiting == IN_FLIGHT:
                    next(call)
                    waiting -= 1
        for _ in range(waiting):
            next(call)
        requests.put(pb.WriteContentRequest(action=pb.COMMIT, offset=len(data), total=len(data)))
        digest: str = next(call).digest
        requests.put(None)
        deque(call, maxlen=0)
        return digest

    def write_many(self, blobs: Sequence[bytes]) -> list[str]:
        """Store blobs, several at once, and return their digests."""
        with Pool(AT_ONCE) as pool:
            return list(pool.map(self.write, map("blob-{}".format, range(len(blobs))), blobs))

    def read(self, digest: str) -> int:
        """Read a blob from its start to its end, and return its size."""
        request = pb.ReadContentRequest(digest=digest)
        return sum(len(answer.data) for answer in self._content.Read(request, metadata=_HEADERS, timeout=_SECONDS))

    def read_many(self, digests: Sequence[str]) -> int:
        """Read blobs, several at once, and return their sizes' sum."""
        with Pool(AT_ONCE) as pool:
            return sum(pool.map(self.read, digests))


@contextmanager
def client(address: str) -> Iterator[Client]:
    """Connect to a server."""
    with grpc.insecure_channel(f"unix:{address}", options=_OPTIONS) as channel:
        yield Client(channel)
