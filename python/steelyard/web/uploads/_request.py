"""A request and its body."""

from __future__ import annotations

import re
from urllib.parse import quote

import anyio

from steelyard._http_fields import combined
from steelyard.web._asgi import Receive, Scope

__all__ = ("Body", "Request")

_LENGTH = re.compile(r"[0-9]{1,18}")
_DRAIN_BYTES = 16 << 20
_DRAIN_SECONDS = 2.0


class Body:
    """The body of a request, in pieces from the server.

    Attributes:
        received: the number of bytes so far.
        ended: whether the whole body was received.
        broken: whether the client disconnected before its end.
    """

    def __init__(self, receive: Receive, size: int | None) -> None:
        self._receive = receive
        self._size = size
        self.received = 0
        self.ended = False
        self.broken = False

    async def next(self) -> bytes:
        """Return the next bytes, perhaps no bytes. At the end `ended` or `broken` is set."""
        message = await self._receive()
        if message["type"] != "http.request":
            self.broken = True
            return b""
        piece: bytes = message.get("body", b"")
        self.received += len(piece)
        if not message.get("more_body", False):
            self.ended = True
            # Not every server distinguishes a broken connection from the end.
            self.broken = self._size is not None and self.received < self._size
        return piece

    async def drain(self) -> None:
        """Read the rest of a refused request's body, up to a limit.

        Otherwise many clients would get a reset connection instead of the answer, because they read only after they have written.
        """
        end = self.received + _DRAIN_BYTES
        with anyio.move_on_after(_DRAIN_SECONDS):
            while not self.ended and not self.broken and self.received < end:
                await self.next()


class Request:
    """The parts of a request that tus needs.

    Attributes:
        method: the method, or its replacement from X-HTTP-Method-Override.
        whole_path: its path.
        path: its path below the mount point of the application.
        headers: the fields, with names in lower case.
        body: the body.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.headers = combined(scope["headers"])
        method: str = scope["method"]
        self.method = self.headers.get("x-http-method-override", method).upper()
        path: str = scope["path"]
        self.whole_path = path
        root: str = scope.get("root_path", "").rstrip("/")
        self.path = path
        if root and (path == root or path.startswith(f"{root}/")):
            self.path = path[len(root) :]
        length = self.headers.get("content-length", "")
        self.size = int(length) if _LENGTH.fullmatch(length) else None
        self.body = Body(receive, self.size)

    @property
    def upload(self) -> str:
        """The ID in the path; empty for the path at which uploads are created."""
        return self.path.removeprefix("/")

    @property
    def content_type(self) -> str:
        """The media type of the body without parameters, or an empty text."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def waits(self) -> bool:
        """Whether the client sends the body only after a response 100."""
        return "100-continue" in self.headers.get("expect", "").lower()

    def location(self, upload: str) -> str:
        """Return the URL of an upload relative to that of this request, so that it is right behind any proxy."""
        # The path of ASGI is decoded, so it is encoded again. A colon would make the first part a scheme: RFC 3986, 4.2.
        last = quote(self.whole_path.rpartition("/")[2], safe="")
        return f"{last}/{upload}" if last else upload
