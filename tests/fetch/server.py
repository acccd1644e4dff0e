"""A server of HTTP on loopback that does what a test says, faults included: raw sockets, a thread for each connection."""

from __future__ import annotations

import functools
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

__all__ = (
    "Handler",
    "Reply",
    "Request",
    "Server",
    "content",
    "dropped",
    "ranged",
    "running",
    "stalled",
    "status",
    "whole",
)

_PIECE = 64 << 10
_ESTABLISHED = "01"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@functools.cache
def content(size: int, number: int = 0) -> bytes:
    """Return bytes that no other number has."""
    return random.Random(f"{size} {number}").randbytes(size)


@dataclass(frozen=True)
class Request:
    """A request as it came; names of fields are in lower case, and several of one name are one list."""

    path: str
    headers: dict[str, str]

    @property
    def offset(self) -> int:
        """The first byte of the range, or 0."""
        match = _RANGE.fullmatch(self.headers.get("range", ""))
        return int(match[1]) if match else 0

    @property
    def end(self) -> int | None:
        """The place after the last byte of the range, or None for the end of the file."""
        match = _RANGE.fullmatch(self.headers.get("range", ""))
        return int(match[2]) + 1 if match and match[2] else None


@dataclass(frozen=True)
class Reply:
    """A response, and what goes wrong with it."""

    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    framing: str = "length"  # or "chunked", or "none": the end of the connection
    drop_after: int | None = None
    stall_after: int | None = None
    hang_up: bool = False  # end the connection after the response, without a word


Handler = Callable[[Request], Reply]


def whole(data: bytes, **headers: str) -> Handler:
    """Give all of a file, whatever range is asked for."""
    return lambda _: Reply(headers=_fields(headers), body=data)


def status(code: int, **headers: str) -> Handler:
    """Give a response without a file."""
    return lambda _: Reply(code, _fields(headers), b"no file here\n")


def ranged(data: bytes, etag: str | None = '"one"', **headers: str) -> Handler:
    """Give ranges as RFC 9110 has them: under If-Range only of this version."""
    own = _fields(headers) | ({} if etag is None else {"ETag": etag})

    def answer(request: Request) -> Reply:
        wanted = request.headers.get("if-range")
        same = wanted is None or wanted in {own.get("ETag"), own.get("Last-Modified")}
        if "range" not in request.headers or not same:
            return Reply(headers=own, body=data)
        offset = request.offset
        if offset >= len(data):
            return Reply(416, own | {"Content-Range": f"bytes */{len(data)}"})
        end = min(len(data), request.end or len(data))
        return Reply(206, own | {"Content-Range": f"bytes {offset}-{end - 1}/{len(data)}"}, data[offset:end])

    return answer


def dropped(handler: Handler, after: int) -> Handler:
    """End the connection after so many bytes of the body."""
    return lambda request: replace(handler(request), drop_after=after)


def stalled(handler: Handler, after: int) -> Handler:
    """Send nothing more after so many bytes of the body."""
    return lambda request: replace(handler(request), stall_after=after)


def _fields(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class Server:
    """The server.

    Attributes:
        requests: all requests so far.
        connections: the number of connections so far.
        most: the most connections that clients had open when one was accepted.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = self.most = 0
        self.changed = threading.Condition()
        self._plans: dict[str, list[Handler]] = {}
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    def url(self, path: str = "/file", *, host: str = "127.0.0.1", credentials: str = "") -> str:
        """Return the URL of a path."""
        return f"http://{credentials}{host}:{self.port}{path}"

    def plan(self, path: str, *handlers: Handler) -> str:
        """Have these handlers answer the requests for a path, in order; the last one goes on. Return the URL."""
        self._plans[path] = list(handlers)
        return self.url(path)

    def ranges(self, path: str = "/file") -> list[int]:
        """Return the offsets of all requests for a path."""
        return [request.offset for request in self.requests if request.path == path]

    def wait_for_requests(self, number: int) -> None:
        """Wait until so many requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= number, timeout=60)

    def wait_for_end(self) -> None:
        """Wait until no connection is open."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self._open, timeout=60)

    def accept(self) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
                # A body does not wait for the acknowledgement of its head.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                return
            with self.changed:
                self.connections += 1
                self._open.add(connection)
                self.most = max(self.most, self._established())
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """End all connections and threads."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self.changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _established(self) -> int:
        """Return how many connections clients have open now. The kernel knows at once when one ends; a thread here may learn it late."""
        place = f"{socket.htonl(0x7F000001):08X}:{self.port:04X}"
        rows = (line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:])
        return sum(remote == place and state == _ESTABLISHED for _, _, remote, state, *_ in rows)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while (request := self._receive(connection)) is not None:
                with self.changed:
                    self.requests.append(request)
                    handlers = self._plans.get(request.path.partition("?")[0], [status(404)])
                    handler = handlers.pop(0) if len(handlers) > 1 else handlers[0]
                    self.changed.notify_all()
                if not _send(connection, handler(request)):
                    break
        with self.changed:
            self._open.discard(connection)
            self.changed.notify_all()

    def _receive(self, connection: socket.socket) -> Request | None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(_PIECE)
            if not data:
                return None
            head += data
        first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers: dict[str, str] = {}
        for name, _, value in pairs:
            found = headers.get(name.lower())
            headers[name.lower()] = value.strip() if found is None else f"{found}, {value.strip()}"
        return Request(first.split()[1], headers)


def _send(connection: socket.socket, reply: Reply) -> bool:
    """Send a response; return whether the connection goes on."""
    headers = dict(reply.headers)
    if reply.framing == "length":
        headers.setdefault("Content-Length", str(len(reply.body)))
    elif reply.framing == "chunked":
        headers["Transfer-Encoding"] = "chunked"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"HTTP/1.1 {reply.code} Reason\r\n{lines}\r\n".encode("latin-1"))
    ends = [size for size in (reply.drop_after, reply.stall_after) if size is not None]
    body = reply.body[: min(ends)] if ends else reply.body
    for place in range(0, len(body), _PIECE):
        piece = body[place : place + _PIECE]
        if reply.framing == "chunked":
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        connection.sendall(piece)
    if reply.drop_after is not None:
        connection.shutdown(socket.SHUT_WR)  # what was sent arrives; a reset would take it away
        return False
    if reply.stall_after is not None:
        connection.recv(1)  # until the client, or the test, ends the connection
        return False
    if reply.framing == "chunked":
        connection.sendall(b"0\r\n\r\n")
    return reply.framing != "none" and not reply.hang_up


@contextmanager
def running() -> Iterator[Server]:
    """Run a server."""
    server = Server()
    thread = threading.Thread(target=server.accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
