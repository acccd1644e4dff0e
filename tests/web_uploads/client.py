"""A client of an ASGI application in this process, which decides when each piece of a body arrives."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio

from steelyard.web import ASGIApp, Message

__all__ = ("PATCH_TYPE", "Answer", "Client", "Sender", "checksum")

PATCH_TYPE = "application/offset+octet-stream"


class Answer:
    """An answer.

    Attributes:
        status: the status code; 0 if nothing was sent.
        headers: the fields.
        text: the content.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = ""

    @property
    def offset(self) -> int:
        """The offset."""
        return int(self.headers["upload-offset"])


class Sender:
    """The body of a request, piece by piece. `finish` ends it; `leave` breaks the connection in place of that."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Message](1000)

    def send(self, data: bytes, *, more: bool = True) -> None:
        """Have a piece arrive."""
        self._send.send_nowait({"type": "http.request", "body": data, "more_body": more})

    def finish(self) -> None:
        """Have the body end."""
        self.send(b"", more=False)

    def leave(self) -> None:
        """Break the connection."""
        self._send.send_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        """Wait for the next message."""
        return await self._receive.receive()

    def close(self) -> None:
        """Close the streams."""
        self._send.close()
        self._receive.close()


class Client:
    """Speaks to an application. `handle` is called with each exception that the application raises after its answer."""

    def __init__(self, app: ASGIApp, handle: Callable[[Exception], object] | None = None) -> None:
        self._app = app
        self._handle = handle

    async def __call__(
        self,
        method: str,
        path: str = "/",
        body: bytes | Sequence[bytes] | Sender = b"",
        *,
        headers: Sequence[tuple[str, str]] = (),
        resumable: str | None = "1.0.0",
        scope: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Answer:
        """Send a request, and return the answer. A field ``upload_offset`` is the header field Upload-Offset."""
        pairs = [(name.replace("_", "-"), str(value)) for name, value in fields.items() if value is not None]
        pairs += headers
        if resumable is not None:
            pairs.append(("tus-resumable", resumable))
        if isinstance(body, Sender):
            sender = body
        else:
            sender = Sender()
            for piece in [body] if isinstance(body, bytes) else body:
                sender.send(piece)
            if isinstance(body, bytes):
                pairs.append(("content-length", str(len(body))))
            sender.finish()
        answer = Answer()

        async def send(message: Message) -> None:
            await anyio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.text += message.get("body", b"").decode()

        given = {"type": "http", "method": method, "path": path, "root_path": "", "query_string": b""} | (scope or {})
        given["headers"] = [(name.lower().encode(), value.encode()) for name, value in pairs]
        try:
            await self._app(given, sender.receive, send)
        except Exception as error:
            if self._handle is None or not answer.status:
                raise
            self._handle(error)
        finally:
            with suppress(Exception):
                sender.close()
        return answer

    async def create(self, length: int | None, **fields: Any) -> str:
        """Create an upload, and return its path."""
        answer = await self("POST", upload_length=length, **fields)
        assert 201 == answer.status, answer.text
        return "/" + answer.headers["location"]

    async def patch(self, path: str, offset: int, body: bytes | Sequence[bytes] | Sender, **fields: Any) -> Answer:
        """Append bytes."""
        return await self("PATCH", path, body, upload_offset=offset, content_type=PATCH_TYPE, **fields)


def checksum(data: bytes, algorithm: str = "sha1") -> str:
    """Return a field Upload-Checksum."""
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"
