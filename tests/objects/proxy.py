"""A proxy between the store and a server that fails at a chosen request, once or from then on."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

__all__ = ("FAULTS", "FaultProxy", "fault_proxy")

FAULTS = (
    *("reset", "cut", "lost", "busy", "failed", "broken", "truncated", "empty"),
    *("stalled", "unanswered", "stale", "etag", "size", "garbled"),
)
"""The kinds of faults.

* reset: the connection is closed before the server has the request
* cut: the connection is closed when half of the body has been received
* lost: the server has answered, and the connection is closed before the client has the answer
* busy: 503 SlowDown, and the server has not seen the request
* failed: 500 InternalError, and the server has not seen the request
* broken: the server has done it, and the client gets 500 InternalError
* truncated: the client gets half of the answer's body
* empty: the client gets the answer without its body, which is announced
* stalled: the server has not seen the request, and nothing happens until the next plan
* unanswered: the server has done it, and nothing happens until the next plan
* stale: a listing is the last one of the same request, or else empty
* etag: the answer has another ETag, in its headers or in a listing
* size: the size that an answer announces is one more, in its headers or in a listing; an object has one byte more
* garbled: the last byte of an object is another one
"""

_LISTING = "list-type=2"
_CHUNK = 64 << 10


class FaultProxy:
    """The state of a running proxy.

    Attributes:
        address: its URL.
        seen: how many requests came since `plan`.
        faults: how many of them failed by plan.
        part_numbers: the number of each part of an upload that came since the proxy was started.
        ranges: the range of each request that had one since `plan`, and the ETag that it asked for.
        sending: how many answers are being sent.
        sent: the bytes of bodies that were sent since `plan`.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.address = ""
        self.part_numbers: list[int] = []
        self.ranges: list[tuple[str, str | None]] = []
        self.sending = self.sent = 0
        self.connections: set[socket.socket] = set()
        self.listings: dict[str, bytes] = {}
        self.changed = threading.Event()
        self._lock = threading.Lock()
        self.plan(None)

    def plan(self, kind: str | None, *, at: int = 1, lasting: bool = False) -> None:
        """Have the request with that number fail, and all after it if the fault is lasting; None for no fault."""
        with self._lock:
            self._kind, self._at, self._lasting = kind, at, lasting
            self.seen = self.faults = self.sent = 0
            self.ranges = []
            self.changed.set()
            self.changed = threading.Event()

    @property
    def parts(self) -> int:
        """How many parts of uploads came since the proxy was started."""
        return len(self.part_numbers)

    def hang_up(self) -> None:
        """Close the connections of all clients, which may have been killed."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def counting(self) -> Iterator[Callable[[int], None]]:
        """Count an answer that is sent, and its bytes."""

        def sent(size: int) -> None:
            with self._lock:
                self.sent += size

        with self._lock:
            self.sending += 1
        try:
            yield sent
        finally:
            with self._lock:
                self.sending -= 1

    def next(self, path: str) -> str | None:
        """Count a request, and return what shall happen to it."""
        with self._lock:
            number = dict(parse_qsl(urlsplit(path).query)).get("partNumber")
            if number is not None:
                self.part_numbers.append(int(number))
            self.seen += 1
            fails = self._kind is not None and (self.seen >= self._at if self._lasting else self.seen == self._at)
            self.faults += fails
            return self._kind if fails else None


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in threads of this process."""
    proxy = FaultProxy(upstream)

    class Handler(_Handler):
        state = proxy

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # they are waited for at the end
        proxy.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
            proxy.plan(None)
            proxy.hang_up()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # a body after its head would wait for a delayed acknowledgement, 40 ms for each answer
    )
    state: FaultProxy

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def setup(self) -> None:
        """Note the connection."""
        super().setup()
        self.state.connections.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.state.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def _any(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        changed, fault = self.state.changed, self.state.next(self.path)
        if "range" in self.headers:
            self.state.ranges.append((self.headers["range"], self.headers["if-match"]))
        body = self.rfile.read(size // 2 if fault == "cut" else size)
        if fault in {"reset", "cut"} or len(body) < size:  # or the client was killed
            return self._hang_up()
        if fault in {"busy", "failed"}:
            return self._answer(*((503, _error("SlowDown")) if fault == "busy" else (500, _error("InternalError"))))
        if fault == "stalled":
            changed.wait(60)
            return self._hang_up()
        try:
            answer, data = self._ask(body)
        except (OSError, http.client.HTTPException):
            return self._hang_up()  # the server hung up itself
        if fault == "unanswered":
            changed.wait(60)
        if fault in {"lost", "unanswered"}:
            return self._hang_up()
        if fault == "broken":
            return self._answer(500, _error("InternalError"))
        headers, data = self._changed(answer, data, fault)
        self.send_response_only(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        cut = {"truncated": len(data) // 2, "empty": 0}.get(fault or "", len(data))
        with self.state.counting() as sent, suppress(OSError):  # the client may have enough
            for begin in range(0, cut, _CHUNK):
                chunk = data[begin : min(begin + _CHUNK, cut)]
                self.wfile.write(chunk)
                sent(len(chunk))
        if cut < len(data):
            self._hang_up()
        return None

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        upstream = http.client.HTTPConnection(self.state.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            return answer, answer.read()
        finally:
            upstream.close()

    def _changed(
        self, answer: http.client.HTTPResponse, data: bytes, fault: str | None
    ) -> tuple[dict[str, str], bytes]:
        """Return headers and body of the answer, as the fault has them."""
        headers = {name.lower(): value for name, value in answer.getheaders()}
        for name in ("transfer-encoding", "connection"):
            headers.pop(name, None)
        is_listing = _LISTING in self.path and answer.status == 200
        is_object = self.command == "GET" and "?" not in self.path and answer.status in {200, 206} and len(data) > 0
        if is_listing:
            last = self.state.listings.get(self.path, re.sub(rb"<Contents>.*</Contents>", b"", data, flags=re.DOTALL))
            self.state.listings[self.path] = data
            data = last if fault == "stale" else data
        if fault == "etag":
            headers |= {"etag": '"0123456789abcdef0123456789abcdef"'} if "etag" in headers else {}
            data = re.sub(rb"<ETag>[^<]*<", b"<ETag>0123456789abcdef<", data) if is_listing else data
        if fault == "size":
            data = (
                re.sub(rb"<Size>(\d+)<", lambda found: b"<Size>%d<" % (int(found[1]) + 1), data) if is_listing else data
            )
            data += b"x" if is_object else b""
        if fault == "garbled" and is_object:
            data = data[:-1] + bytes([data[-1] ^ 1])
        size = int(headers.get("content-length", 0)) + (fault == "size") if self.command == "HEAD" else len(data)
        return headers | {"content-length": str(size)}, data

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815  # as the standard library calls them

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by plan</Message></Error>".encode()
