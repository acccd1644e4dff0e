"""`BlobResponse`: a blob as the answer to a GET or HEAD request."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping
from typing import Literal

from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.errors import InvalidDigest, NotFound, Unsupported
from steelyard.model import Descriptor
from steelyard.web import _body, _paths
from steelyard.web._asgi import ASGIApp, Message, Receive, Scope, Send
from steelyard.web._conditions import entity_tag, if_range_holds, refusal
from steelyard.web._fields import Fields, check_headers, check_value, disposition_of, repr_digest, request_fields
from steelyard.web._ranges import ByteRange, requested

__all__ = ("BlobResponse",)

_UNTIL_CHANGED = (b"cache-control", b"expires", b"age", b"content-")
"""Prefixes of the caller's fields that are about the blob: a 404, 412 or 416 must not be kept for a year."""


class BlobResponse:
    """A blob as an ASGI application, which answers one request or many."""

    def __init__(
        self,
        store: Provider,
        blob: Descriptor | Digest | str,
        *,
        content_type: str | None = None,
        filename: str | None = None,
        disposition: Literal["attachment", "inline"] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool = True,
        not_found: ASGIApp | None = None,
    ) -> None:
        self._store = store
        self._blob: Descriptor | Digest | None
        try:
            self._blob = blob if isinstance(blob, Descriptor) else Digest.parse(blob)
        except InvalidDigest:
            self._blob = None
        if content_type is None:
            content_type = (isinstance(blob, Descriptor) and blob.media_type) or "application/octet-stream"
        self._content_type = check_value("content type", content_type)
        self._disposition = disposition_of(disposition, filename)
        self._fields = check_headers(headers)
        self._verify = verify
        self._not_found = not_found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI 3 calls an application."""
        if scope["type"] != "http":
            raise Unsupported("BlobResponse", operation=f"connections of type {scope['type']}")
        if scope["method"] not in ("GET", "HEAD"):
            await self._refuse(send, 405, [(b"allow", b"GET, HEAD")])
            return
        if self._blob is not None:
            opened = False
            try:
                async with self._store.reader_at(self._blob) as reader:
                    opened = True
                    await self._answer(reader, scope, receive, send)
                    return
            except NotFound:
                if opened:
                    raise
        if self._not_found is not None:
            await self._not_found(scope, receive, send)
        else:
            await self._refuse(send, 404)

    async def _answer(self, reader: ReaderAt, scope: Scope, receive: Receive, send: Send) -> None:
        fields = request_fields(scope)
        tag = entity_tag(reader.digest)
        own: Fields = [(b"etag", tag.encode("ascii")), (b"accept-ranges", b"bytes")]
        status = refusal(fields, tag)
        if status == 304:
            await send(_start(304, own + self._fields))
            await send({"type": "http.response.body"})
            return
        if status is not None:
            await self._refuse(send, status, own)
            return
        ranges = None
        if scope["method"] == "GET" and "range" in fields and if_range_holds(fields.get("if-range"), tag):
            ranges = requested(fields["range"], reader.size)
        if ranges == ():
            await self._refuse(send, 416, [*own, (b"content-range", b"bytes */%d" % reader.size)])
            return
        digest = repr_digest(reader.digest)
        if digest is not None:
            own.append((b"repr-digest", digest))
        if self._disposition is not None:
            own.append((b"content-disposition", self._disposition))
        await self._send(reader, ranges, own + self._fields, scope, receive, send)

    async def _send(
        self,
        reader: ReaderAt,
        ranges: tuple[ByteRange, ...] | None,
        fields: Fields,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        size = reader.size
        if ranges is not None and len(ranges) > 1:
            content_type, body, length = self._multipart(reader, ranges)
            await _body.respond(receive, send, _start(206, fields, content_type, length), body, length)
            return
        status, wanted = 200, ByteRange(0, size)
        if ranges is not None:
            status, wanted = 206, ranges[0]
            fields = [*fields, (b"content-range", _content_range(wanted, size))]
        length = wanted.stop - wanted.start
        start = _start(status, fields, self._content_type, length)
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body"})
            return
        if length < size or not self._verify:
            path = None
            if length == size and "http.response.pathsend" in (scope.get("extensions") or ()):
                path = await _paths.path_for_server(self._store, reader.digest)
            if path is not None:
                await send(start)
                await send({"type": "http.response.pathsend", "path": path})
                return
            body = _body.part(reader, wanted)
        else:
            body = _body.whole(reader)
        await _body.respond(receive, send, start, body, length)

    def _multipart(
        self, reader: ReaderAt, ranges: tuple[ByteRange, ...]
    ) -> tuple[bytes, AsyncGenerator[bytes, None], int]:
        """Return content type, bytes and length of several ranges; see RFC 9110 section 14.6."""
        boundary = secrets.token_hex(16).encode()
        parts = []
        for place, one in enumerate(ranges):
            head = b"%s--%s\r\ncontent-type: %s\r\ncontent-range: %s\r\n\r\n"
            before = b"\r\n" if place else b""
            parts.append((head % (before, boundary, self._content_type, _content_range(one, reader.size)), one))
        end = b"\r\n--%s--\r\n" % boundary
        length = sum(len(head) + one.stop - one.start for head, one in parts) + len(end)
        return b"multipart/byteranges; boundary=" + boundary, _body.multipart(reader, parts, end), length

    async def _refuse(self, send: Send, status: int, fields: Fields | None = None) -> None:
        text = {
            404: b"not found",
            405: b"method not allowed",
            412: b"precondition failed",
            416: b"range not satisfiable",
        }
        kept = [field for field in self._fields if not field[0].startswith(_UNTIL_CHANGED)]
        await send(_start(status, (fields or []) + kept, b"text/plain; charset=utf-8", len(text[status]) + 1))
        await send({"type": "http.response.body", "body": text[status] + b"\n"})


def _start(status: int, fields: Fields, content_type: bytes | None = None, length: int | None = None) -> Message:
    more: Fields = []
    if content_type is not None:
        more.append((b"content-type", content_type))
    if length is not None:
        more.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": status, "headers": more + fields}


def _content_range(wanted: ByteRange, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (wanted.start, wanted.stop - 1, size)
