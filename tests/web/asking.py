"""Ask an ASGI application without a server, and see each event that it sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import anyio

from steelyard.web import ASGIApp, Message

__all__ = ("Answer", "ask", "parts", "scope_of")


@dataclass
class Answer:
    """The events that an application has sent."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def fields(self) -> dict[str, str]:
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.messages[0]["headers"]]
        assert len(dict(pairs)) == len(pairs), "a field was sent twice"
        assert all(name == name.lower() for name, _ in pairs)
        return dict(pairs)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def is_complete(self) -> bool:
        """Whether the last event ends the response, and none before it does."""
        more = [message.get("more_body", False) for message in self.messages[1:]]
        return more == [True] * (len(more) - 1) + [False]

    @property
    def path(self) -> str | None:
        """The file that the server was told to send."""
        last = self.messages[-1]
        return str(last["path"]) if last["type"] == "http.response.pathsend" else None


def scope_of(method: str = "GET", headers: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Return the scope of a request."""
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    return {"type": "http", "asgi": {"version": "3.0"}, "method": method, "path": "/", "headers": pairs, **more}


async def ask(
    app: ASGIApp,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    *,
    answer: Answer | None = None,
    **more: Any,
) -> Answer:
    """Return the answer to a request of a client that stays. With `answer`, it is there although the application fails."""
    answer = answer or Answer()
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await anyio.sleep_forever()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        answer.messages.append(message)

    await app(scope_of(method, headers, **more), receive, send)
    return answer


def parts(answer: Answer) -> list[tuple[str, str, bytes]]:
    """Return content type, content range and bytes of each part of an answer with several ranges."""
    kind = answer.fields["content-type"]
    assert kind.startswith("multipart/byteranges; boundary=")
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + answer.body)
    boundary = kind.partition("boundary=")[2].encode()
    found = []
    # The parser of mail may change line ends in bytes, so they are cut out by hand, and only the headers are parsed.
    pieces = answer.body.split(b"--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    for piece in pieces[1:-1]:
        head, separator, data = piece.partition(b"\r\n\r\n")
        assert separator
        assert data.endswith(b"\r\n")
        header = BytesParser(policy=HTTP).parsebytes(head.removeprefix(b"\r\n") + b"\r\n\r\n")
        found.append((header["content-type"], header["content-range"], data[:-2]))
    assert len(message.get_payload()) == len(found)
    return found
