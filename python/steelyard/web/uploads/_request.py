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
    """The body of a request, in the pieces that the server passes on.

    Attributes:
        received: the bytes so far.
        ended: whether all of it was received.
        broken: whether the client went away before its end.
    """

    def __init__(self, receive: Receive, size: int | None) -> None:
        self._receive = receive
        self._size = size
        self.received = 0
        self.ended = False
        self.broken = False

    async def next(self) -> bytes:
        """Return the next bytes, which may be none. At the end `ended` or `broken` is set."""
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
        """Read what a refused request still sends, up to a limit.

        Otherwise many clients would get a reset connection instead of the answer, because they read only after they have written.
        """
        end = self.received + _DRAIN_BYTES
        with anyio.move_on_after(_DRAIN_SECONDS):
            while not self.ended and not self.broken and self.received < end:
                await self.next()


class Request:
    """A request as it concerns tus.

    Attributes:
        method: the method, or the one that X-HTTP-Method-Override has in its place.
        whole_path: its path.
        path: the path below the place where the application is mounted.
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
        """The media type of the body, without parameters; empty if it is not given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def waits(self) -> bool:
        """Whether the client sends the body only after it was asked to."""
        return "100-continue" in self.headers.get("expect", "").lower()

    def location(self, upload: str) -> str:
        """Return the URL of an upload, relative to that of this request: the same behind every proxy."""
        # ASGI gives the path decoded. A colon would make the first part a scheme: RFC 3986, 4.2.
        last = quote(self.whole_path.rpartition("/")[2], safe="")
        return f"{last}/{upload}" if last else upload
