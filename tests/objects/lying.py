"""A server of object storage in memory that ignores conditions: two writers can create the same object."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ("lying_server",)


@contextmanager
def lying_server(*, refused: dict[str, int] | None = None) -> Iterator[str]:
    """Run the server in threads of this process, and return its URL.

    Args:
        refused: by method the status of all answers, and of all listings by ``LIST``; it may change meanwhile.
    """
    kept: dict[str, bytes] = {}
    statuses = {} if refused is None else refused

    class Handler(_Handler):
        objects = kept
        refused = statuses

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection for each request: none is left at the end
    objects: dict[str, bytes]
    refused: dict[str, int]

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"] or 0))
        if "PUT" in self.refused:
            return self._answer(self.refused["PUT"], b"")
        self.objects[self._key()] = data
        return self._answer(200, b"")

    def do_POST(self) -> None:
        self._answer(self.refused.get("POST", 501), b"")

    def do_GET(self) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query))
        name = "LIST" if "list-type" in query else self.command
        if name in self.refused:
            return self._answer(self.refused[name], b"")
        if name == "LIST":
            prefix = query.get("prefix", "")
            return self._answer(200, _listing([key for key in sorted(self.objects) if key.startswith(prefix)]))
        data = self.objects.get(self._key())
        return self._answer(404 if data is None else 200, data or b"")

    do_HEAD = do_GET  # noqa: N815  # as the standard library calls it

    def do_DELETE(self) -> None:
        self.objects.pop(self._key(), None)
        self._answer(204, b"")

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket/")

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response_only(status)
        self.send_header("etag", f'"{hashlib.md5(data).hexdigest()}"')
        self.send_header("last-modified", "Sat, 28 Nov 2026 10:00:00 GMT")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _listing(keys: list[str]) -> bytes:
    rows = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-11-28T10:00:00.000Z</LastModified>"
        f"<ETag>etag</ETag></Contents>"
        for key in keys
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()
