"""Answers, with the fields that all of them have."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from steelyard.web._asgi import Send
from steelyard.web.uploads._refusal import Refusal
from steelyard.web.uploads._request import Request

__all__ = ("VERSION", "Answers")

VERSION = "1.0.0"

_METHODS = "POST, HEAD, PATCH, DELETE, OPTIONS"
_SENT = (
    "Authorization, Content-Type, Tus-Resumable, Upload-Checksum, Upload-Defer-Length, Upload-Length, Upload-Metadata, Upload-Offset, "
    "X-HTTP-Method-Override, X-Request-ID, X-Requested-With"
)
_EXPOSED = (
    "Location, Retry-After, Steelyard-Digest, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, "
    "Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset"
)
_PREFLIGHT_SECONDS = "86400"


class Answers:
    """Sends answers.

    Args:
        origins: the origins of web pages that may use the application, or ``*`` for all.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    async def send(
        self, request: Request, send: Send, status: int, headers: Mapping[str, str], text: str | None = None
    ) -> None:
        """Send an answer, with a line of text or without content."""
        fields = {"tus-resumable": VERSION, "cache-control": "no-store"} | self._cors(request)
        fields |= {name.lower(): value for name, value in headers.items()}
        content = b"" if text is None or request.method == "HEAD" else f"{text}\n".encode()
        if content:
            fields |= {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
        if status != 204:
            fields["content-length"] = str(len(content))
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    async def refuse(self, request: Request, send: Send, refusal: Refusal) -> None:
        """Send an error."""
        if not request.waits and refusal.status != 408:
            await request.body.drain()
        await self.send(request, send, refusal.status, refusal.headers, refusal.text)

    def _cors(self, request: Request) -> dict[str, str]:
        """Return the fields that let a browser pass the answer to a page of another origin (Fetch, CORS protocol)."""
        origin = request.headers.get("origin")
        if not self._origins or origin is None:
            return {}
        fields = {"vary": "Origin"}
        if "*" not in self._origins and origin not in self._origins:
            return fields
        fields["access-control-allow-origin"] = "*" if "*" in self._origins else origin
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            fields["access-control-allow-methods"] = _METHODS
            fields["access-control-allow-headers"] = _SENT
            fields["access-control-max-age"] = _PREFLIGHT_SECONDS
        else:
            fields["access-control-expose-headers"] = _EXPOSED
        return fields
