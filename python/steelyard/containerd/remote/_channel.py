"""The connection to a server: one native channel, created at the first call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from anyio import ClosedResourceError

from steelyard._native import RemoteCall, RemoteChannel
from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.fork import Process
from steelyard.containerd._namespaces import NAMESPACE
from steelyard.containerd.remote._messages import Method
from steelyard.model import Buffer

__all__ = ("Channel", "Connection", "Headers", "encode")

Headers = tuple[tuple[str, str], ...]
"""The headers of a call. A server that does not know a header ignores it."""

encode = msgspec.json.Encoder().encode
"""Encodes a request as JSON."""


class Channel:
    """The native channel, which a store shares with its copies under a lease. It connects and reconnects by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._native: RemoteChannel | None = None
        self._process = Process()
        self._closed = False

    @property
    def address(self) -> str:
        """The server, as messages name it."""
        return f"unix://{self.path}"

    def open(self) -> RemoteChannel:
        """Return the channel."""
        self._process.check(self.address)
        if self._closed:
            raise ClosedResourceError
        if self._native is None:
            self._native = RemoteChannel(self.path)
        return self._native

    def reopen(self) -> None:
        """Allow calls again after a close."""
        self._closed = False

    def close(self) -> None:
        """End all calls and the connection."""
        self._closed = True
        if self._native is not None and self._process.is_current:
            self._native.close()


class Connection:
    """A channel, and the headers of each call on it."""

    def __init__(self, channel: Channel, namespace: str | None, lease: str | None) -> None:
        self.channel = channel
        self.namespace = namespace
        self.lease = lease
        self._headers = tuple(
            (key, value)
            for key, value in (
                (NAMESPACE, namespace),
                ("containerd-lease", lease),
                # This tells our own service that an empty label value is a value.
                ("steelyard-exact", "1"),
            )
            if value is not None
        )

    @property
    def address(self) -> str:
        """The server, as messages name it."""
        return self.channel.address

    @uninterrupted
    def ask(
        self,
        called: Method,
        request: dict[str, Any],
        *,
        timeout: float | None = None,
        headers: Headers = (),
        data: Sequence[Buffer] = (),
    ) -> RemoteCall:
        """Make a call with one request.

        Args:
            called: the method.
            request: its message.
            timeout: the most seconds for the whole call.
            headers: additional headers.
            data: the data of a Write.

        Raises:
            StorageError: the system refused the thread of the channel (EAGAIN).
        """
        call = self.channel.open().call(called.path, [*self._headers, *headers], timeout)
        call.send(encode(request), list(data))
        call.finish()
        return call

    def converse(self, called: Method, headers: Headers = ()) -> RemoteCall:
        """Start a call whose requests follow later."""
        return self.channel.open().call(called.path, [*self._headers, *headers], None)
