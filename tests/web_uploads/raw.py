"""Requests whose bytes are sent by hand, to stop in the middle of one."""

from __future__ import annotations

import socket
import threading
import time
from typing import Self

from support.asgi_servers import AsgiServer

from .clients import curl

__all__ = ("Trickle", "asked", "begun", "created", "wait_for_offset", "wait_until_written")


def created(server: AsgiServer, length: int) -> str:
    """Create an upload, and return its location."""
    response = curl("-X", "POST", "-H", f"Upload-Length: {length}", f"{server.url}/")
    assert 201 == response.status, response.text
    return response.headers["location"]


def begun(server: AsgiServer, location: str, offset: int, size: int, fields: str = "") -> socket.socket:
    """Send the head of a PATCH, and return the connection."""
    connection = server.connect()
    head = (
        f"PATCH /{location} HTTP/1.1\r\nHost: server\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n{fields}"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


class Trickle:
    """Sends a byte of a body now and then, so that the request does not stall, until the context ends.

    Attributes:
        sent: the bytes so far, each an ``a``.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.sent = 0
        self._connection = connection
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.is_set():
            time.sleep(0.05)
            self._connection.sendall(b"a")
            self.sent += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def asked(url: str) -> int:
    """Return the offset of an upload as soon as no request writes to it."""
    end = time.monotonic() + 60
    while (found := curl("--head", url)).status == 423:
        assert time.monotonic() < end
    assert 200 == found.status
    return int(found.headers["upload-offset"])


def wait_until_written(url: str) -> None:
    """Wait until a request writes to an upload."""
    end = time.monotonic() + 60
    while curl("--head", url).status != 423:
        assert time.monotonic() < end


def wait_for_offset(url: str, offset: int) -> None:
    """Wait until so many bytes count, of a request whose client has gone away: the server may not have read them yet."""
    end = time.monotonic() + 60
    while (found := asked(url)) != offset:
        assert found < offset
        assert time.monotonic() < end, "some of the bytes do not count"
