"""The connection to a server: one gRPC channel, made when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import grpc
import msgspec
from anyio import ClosedResourceError
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass

from steelyard._runtime.fork import Process
from steelyard.containerd._grpc import require_threads
from steelyard.containerd._namespaces import NAMESPACE
from steelyard.containerd._parsing import parse
from steelyard.containerd._proto import content_pb2, images_pb2, leases_pb2
from steelyard.containerd.remote._wire import read_data, write_data

__all__ = ("MESSAGE_LIMIT", "Channel", "Connection", "Headers", "Method", "method")

Headers = tuple[tuple[str, str], ...]
"""The headers of a call. A server that does not know a header ignores it."""

MESSAGE_LIMIT = 16 << 20
"""The most bytes of a message, either way; containerd's own limit."""

_AHEAD = 4 << 20
"""Bytes of one answer that the server may send before we have read them."""

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    # A connection of our own, which ends with the channel.
    ("grpc.use_local_subchannel_pool", 1),
    # To try a socket on this machine costs nothing; a server that has come back is found at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Contrary to its name: how long an attempt may take. A busy server is not an absent one.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.http2.lookahead_bytes", _AHEAD),
    ("grpc.enable_retries", 0),
    # A proxy of the environment is for the network.
    ("grpc.enable_http_proxy", 0),
)


class Method(msgspec.Struct, frozen=True):
    """A method of a service.

    Attributes:
        path: what it is called on the wire.
        request: the class of its requests.
        write: makes bytes of a request.
        read: makes an answer of bytes.
    """

    path: str
    request: type[Any]
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


_CODECS: dict[tuple[str, str], tuple[Callable[[Any], bytes] | None, Callable[[bytes], Any] | None]] = {
    ("Content", "Write"): (write_data, None),
    ("Content", "Read"): (None, read_data),
}
"""Codecs that are faster than protobuf. A Write takes `Data`, and a Read gives memory."""

_FILES: tuple[FileDescriptor, ...] = (content_pb2.DESCRIPTOR, images_pb2.DESCRIPTOR, leases_pb2.DESCRIPTOR)


@cache
def method(service: str, name: str) -> Method:
    """Return the method of that name of ``Content``, ``Images`` or ``Leases``."""
    [found] = [file.services_by_name[service] for file in _FILES if service in file.services_by_name]
    called = found.methods_by_name[name]
    request, answer = GetMessageClass(called.input_type), GetMessageClass(called.output_type)
    write, read = _CODECS.get((service, name), (None, None))
    return Method(
        f"/{found.full_name}/{name}", request, write or request.SerializeToString, read or partial(parse, answer)
    )


class Channel:
    """The gRPC channel, shared by all stores that were made from one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._channel: grpc.Channel | None = None
        self._process = Process()
        self._closed = False

    @property
    def address(self) -> str:
        """The server, as messages name it."""
        return f"unix://{self.path}"

    def open(self) -> grpc.Channel:
        """Return the channel; it connects by itself, again too.

        Raises:
            StorageError: the system refused the threads that it needs (EAGAIN).
        """
        self._process.check(self.address)
        if self._closed:
            raise ClosedResourceError
        if self._channel is None:
            require_threads(self.path)
            self._channel = grpc.insecure_channel(f"unix:{self.path}", options=_OPTIONS)
        return self._channel

    def reopen(self) -> None:
        """Allow calls again after a close."""
        self._closed = False

    def close(self) -> None:
        """End all calls and the connection."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None and self._process.is_current:
            channel.close()


class Connection:
    """A channel, and what is said with each call on it."""

    def __init__(self, channel: Channel, namespace: str | None, lease: str | None) -> None:
        self.channel = channel
        self.namespace = namespace
        self.lease = lease
        self._metadata = tuple(
            (key, value)
            for key, value in (
                (NAMESPACE, namespace),
                ("containerd-lease", lease),
                # To our own service: an empty value of a label is a value.
                ("steelyard-exact", "1"),
            )
            if value is not None
        )

    @property
    def address(self) -> str:
        """The server, as messages name it."""
        return self.channel.address

    def ask(self, called: Method, request: Any, timeout: float, headers: Headers = ()) -> Any:
        """Send one request and return the call, a future of its one answer."""
        send = self.channel.open().unary_unary(
            called.path, request_serializer=called.write, response_deserializer=called.read
        )
        return send.future(request, timeout=timeout, metadata=self._metadata + headers)

    def start(self, called: Method, request: Any) -> Any:
        """Send one request and return the call, whose iterator gives the answers, in whatever thread."""
        send = self.channel.open().unary_stream(
            called.path, request_serializer=called.write, response_deserializer=called.read
        )
        return send(request, metadata=self._metadata)

    def converse(self, called: Method, requests: Iterator[Any], headers: Headers = ()) -> Any:
        """Send the requests as they come, on a thread of gRPC's own, and return the call."""
        send = self.channel.open().stream_stream(
            called.path, request_serializer=called.write, response_deserializer=called.read
        )
        return send(requests, metadata=self._metadata + headers)
