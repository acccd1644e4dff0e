"""`BlobResponse`: a blob as the response to a GET or HEAD request."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Literal, NamedTuple

from steelyard._http_fields import digest_field
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.errors import InvalidDigest, NotFound, Unsupported
from steelyard.model import Descriptor
from steelyard.web import _body, _paths, _verified
from steelyard.web._asgi import ASGIApp, Message, Receive, Scope, Send
from steelyard.web._conditions import etag_of, if_range_holds, refusal
from steelyard.web._fields import Fields, check_headers, check_value, disposition_of, request_fields
from steelyard.web._ranges import ByteRange, requested

__all__ = ("BlobResponse",)

_OF_THE_BLOB = (b"age", b"cache-control", b"content-", b"expires")
"""The prefixes of additional fields that are about the blob. A cache must not keep a 404 for as long as a blob."""

_REFUSALS = {
    404: b"not found\n",
    405: b"method not allowed\n",
    412: b"precondition failed\n",
    416: b"range not satisfiable\n",
}


class _Exchange(NamedTuple):
    """A request and the way to answer it."""

    scope: Scope
    receive: Receive
    send: Send

    async def send_all(self, start: Message, body: bytes = b"") -> None:
        """Send a response whose body is in memory. The response to HEAD has no body."""
        await _body.send_all(self.send, start, b"" if self.scope["method"] == "HEAD" else body)


class BlobResponse:
    """A blob as a response: an ASGI 3 application that answers GET and HEAD.

    ```python
    async def app(scope, receive, send):
        await BlobResponse(store, digest, content_type="video/webm")(scope, receive, send)
    ```

    - A response without Range has the whole blob, verified: the last byte is sent after all bytes were read and match the digest. If
      they do not, a blob of up to 1 MiB is not sent at all. A larger one lacks its end, so that the client sees fewer bytes than
      Content-Length. In both cases DataCorrupt is raised.
    - Range selects one or several ranges. They are **unverified**, unless they are the whole blob. More than 100 ranges are refused.
    - The entity tag is the digest in quotes. It is strong. If-Match, If-None-Match and If-Range use it.
    - Repr-Digest has the digest if that is SHA-256 or SHA-512.
    - There is no Last-Modified, because a blob never changes.

    Args:
        store: the store. It must be open when requests are answered.
        blob: the blob. The response to an invalid digest is 404.
        content_type: the value of Content-Type. The default is the media type of the descriptor, or ``application/octet-stream``.
        filename: the name under which a client saves the blob, any text.
        disposition: whether a browser shows the blob or saves it. The default is ``attachment`` if there is a file name, and otherwise no
            Content-Disposition.
        headers: additional fields, for example Cache-Control. Those about the blob (Cache-Control, Content-…, Expires, Age) are only
            sent with it.
        verify: whether to verify a whole blob. If False, and the server has the extension ``http.response.pathsend``, and the store is a
            `LocalStore` that is not open read-only, the server itself sends the file. A lease protects the file from garbage collection
            until the server has opened it.
        missing: the application that answers if the blob is not stored. The default is a 404 with a line of text.

    Raises (when it is made):
        InvalidArgument: a header, the content type or the file name has a line break or another character that HTTP does not allow
            there, or `headers` has a field that the response writes itself.

    Raises (when it is called):
        DataCorrupt: the blob is damaged; see above. The server closes the connection.
        Unsupported: the connection is not HTTP.
        StorageError, and other errors of the store: before anything is sent, or in place of the rest of a body.

    Cancellation:
        The response ends, and the reader is closed. The same happens when the client disconnects, but without an error.

    Cost:
        Up to 4 MiB of memory for a response. In addition, the process keeps up to 32 MiB of small verified blobs, and up to 8 MiB of BLAKE3
        digests of larger blobs, with which a verification takes a quarter of the time.

    Spec: RFC 9110 sections 13 to 15; RFC 9530 (Repr-Digest); RFC 6266 and RFC 8187 (Content-Disposition); ASGI 3.
    """

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
        missing: ASGIApp | None = None,
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
        self._missing = missing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI 3 calls an application."""
        if scope["type"] != "http":
            raise Unsupported("BlobResponse", operation=f"connections of type {scope['type']}")
        exchange = _Exchange(scope, receive, send)
        if scope["method"] not in ("GET", "HEAD"):
            await self._refuse(exchange, 405, [(b"allow", b"GET, HEAD")])
            return
        if self._blob is not None:
            opened = False
            try:
                verified = await _verified.verified_reader(self._store, self._blob) if self._verify else None
                if verified is not None:
                    opened = True
                    await self._answer(verified, exchange)
                    return
                async with self._store.reader_at(self._blob) as reader:
                    opened = True
                    await self._answer(reader, exchange)
                    return
            except NotFound:
                if opened:
                    raise
        if self._missing is not None:
            await self._missing(scope, receive, send)
        else:
            await self._refuse(exchange, 404)

    async def _answer(self, reader: ReaderAt, exchange: _Exchange) -> None:
        fields = request_fields(exchange.scope)
        etag = etag_of(reader.digest)
        own: Fields = [(b"etag", etag.encode("ascii")), (b"accept-ranges", b"bytes")]
        status = refusal(fields, etag)
        if status == 304:
            await exchange.send_all(_start(304, own + self._fields))
            return
        if status is not None:
            await self._refuse(exchange, status, own)
            return
        ranges = None
        if exchange.scope["method"] == "GET" and "range" in fields and if_range_holds(fields.get("if-range"), etag):
            ranges = requested(fields["range"], reader.size)
        if ranges == ():
            await self._refuse(exchange, 416, [*own, (b"content-range", b"bytes */%d" % reader.size)])
            return
        digest = digest_field(reader.digest)
        if digest is not None:
            own.append((b"repr-digest", digest))
        if self._disposition is not None:
            own.append((b"content-disposition", self._disposition))
        if ranges is not None and len(ranges) > 1:
            await self._send_several(reader, ranges, own, exchange)
        else:
            await self._send_one(reader, ranges, own, exchange)

    async def _send_one(
        self, reader: ReaderAt, ranges: tuple[ByteRange, ...] | None, own: Fields, exchange: _Exchange
    ) -> None:
        size = reader.size
        status, wanted = 200, ByteRange(0, size)
        if ranges is not None:
            status, wanted = 206, ranges[0]
            own = [*own, (b"content-range", _content_range(wanted, size))]
        length = wanted.stop - wanted.start
        start = _start(status, own + self._fields, self._content_type, length)
        if exchange.scope["method"] == "HEAD":
            await exchange.send_all(start)
        elif length < size:
            await _body.respond(exchange.receive, exchange.send, start, _body.part(reader, wanted), length)
        elif self._verify and isinstance(reader, _verified.VerifiedReader):
            await exchange.send_all(start, reader.data)
        elif self._verify:
            await _body.respond(exchange.receive, exchange.send, start, _verified.whole(reader), length)
        elif (path := await self._path(reader, exchange.scope)) is not None:
            await exchange.send(start)
            await exchange.send({"type": "http.response.pathsend", "path": path})
        else:
            await _body.respond(exchange.receive, exchange.send, start, _body.part(reader, wanted), length)

    async def _path(self, reader: ReaderAt, scope: Scope) -> str | None:
        """Return the path of the file if the server itself can send it, or None."""
        if "http.response.pathsend" not in (scope.get("extensions") or ()):
            return None
        return await _paths.path_for_server(self._store, reader.digest)

    async def _send_several(
        self, reader: ReaderAt, ranges: Sequence[ByteRange], own: Fields, exchange: _Exchange
    ) -> None:
        """Send several ranges, each in a separate part: RFC 9110 section 14.6."""
        boundary = secrets.token_hex(16).encode()
        head = b"--%s\r\ncontent-type: %s\r\ncontent-range: %s\r\n\r\n"
        parts: list[tuple[bytes, ByteRange]] = []
        for one in ranges:
            header = head % (boundary, self._content_type, _content_range(one, reader.size))
            parts.append((b"\r\n" + header if parts else header, one))
        end = b"\r\n--%s--\r\n" % boundary
        length = sum(len(header) + one.stop - one.start for header, one in parts) + len(end)
        start = _start(206, own + self._fields, b"multipart/byteranges; boundary=" + boundary, length)
        body: AsyncGenerator[bytes, None] = _body.multipart(reader, parts, end)
        await _body.respond(exchange.receive, exchange.send, start, body, length)

    async def _refuse(self, exchange: _Exchange, status: int, own: Fields | None = None) -> None:
        text = _REFUSALS[status]
        fields = (own or []) + [field for field in self._fields if not field[0].startswith(_OF_THE_BLOB)]
        await exchange.send_all(_start(status, fields, b"text/plain; charset=utf-8", len(text)), text)


def _start(status: int, fields: Fields, content_type: bytes | None = None, length: int | None = None) -> Message:
    more: Fields = []
    if content_type is not None:
        more.append((b"content-type", content_type))
    if length is not None:
        more.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": status, "headers": more + fields}


def _content_range(wanted: ByteRange, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (wanted.start, wanted.stop - 1, size)
