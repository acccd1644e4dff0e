"""The connection to a server: one native channel, made when it is first needed."""

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
"""Makes the JSON of a request."""


class Channel:
    """The native channel, shared by all stores that were made from one. It connects by itself, again too."""

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
    """A channel, and what is said with each call on it."""

    def __init__(self, channel: Channel, namespace: str | None, lease: str | None) -> None:
        self.channel = channel
        self.namespace = namespace
        self.lease = lease
        self._headers = tuple(
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
            timeout: seconds that it may take in all.
            headers: what else is said.
            data: the data of a Write.

        Raises:
            StorageError: the system refused the thread of the channel (EAGAIN).
        """
        call = self.channel.open().call(called.path, [*self._headers, *headers], timeout)
        call.send(encode(request), list(data))
        call.finish()
        return call

    def converse(self, called: Method, headers: Headers = ()) -> RemoteCall:
        """Make a call whose requests follow."""
        return self.channel.open().call(called.path, [*self._headers, *headers], None)
