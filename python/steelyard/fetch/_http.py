"""A file on an HTTP server, and its responses.

Spec: RFC 9110 (ranges), RFC 9530 (digests).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from steelyard._http_fields import digest_in_field
from steelyard._runtime.scopes import managed
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, InvalidResponse, NotFound, ServerRefused
from steelyard.fetch._address import Address
from steelyard.fetch._connections import Connections, connected, drain
from steelyard.fetch._headers import (
    agrees,
    content_range,
    date_of,
    length_of,
    retry_after,
    strong_validator,
)
from steelyard.fetch._hosts import Exchange
from steelyard.fetch._origin import Answer, Origin
from steelyard.fetch._pauses import Changed, Transient, Unsatisfiable
from steelyard.model import Buffer

__all__ = ("HttpOrigin", "connected")

_OWN = {"accept-encoding", "content-length", "host", "if-range", "range", "transfer-encoding"}
"""Fields that a fetch writes itself, or that belong to requests with a body."""

_TRANSIENT = {429, 500, 502, 503, 504}


class HttpOrigin(Origin):
    """A file on an HTTP server."""

    def __init__(
        self, connections: Connections, address: Address, headers: Mapping[str, str], *, algorithm: Algorithm
    ) -> None:
        self.shown = address.shown
        self._http = connections
        self._address = address
        self._own = dict(headers)
        if refused := _OWN & {str(name).lower() for name in headers}:
            raise InvalidArgument(f"headers: expected no field that a fetch writes itself, found {min(refused)}")
        self._algorithm = algorithm

    @managed
    async def open(
        self, offset: int, validator: str | None, *, end: int | None = None, spare: bool = False
    ) -> AsyncIterator[Answer]:
        """Request the file from an offset."""
        fields = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "steelyard"}
        if offset or end is not None:
            fields["Range"] = f"bytes={offset}-{'' if end is None else end - 1}"
            if validator is not None:
                fields["If-Range"] = validator
        response = await self._http.answered(self._address, self._own, fields, spare=spare)
        try:
            if response.status not in {200, 206}:
                await drain(response)
                raise self._refusal(response, offset)
            coding = response.headers.get("content-encoding", "identity").strip().lower()
            if coding not in {"identity", ""}:
                raise self._invalid("no content coding", f"Content-Encoding: {coding[:100]}")
            if response.status == 206 and validator is not None and not agrees(response.headers, validator):
                raise Changed
            async with aclosing(response.pieces()) as pieces:
                yield self._whole(response, pieces) if response.status == 200 else self._part(response, pieces, offset)
        finally:
            await response.aclose()

    def _whole(self, response: Exchange, pieces: AsyncIterator[Buffer]) -> Answer:
        headers, size = response.headers, length_of(response.headers)
        # A Content-Digest is the digest of this message. It is the file's digest only if the message is the whole file.
        stated = self._digest(headers, "repr-digest") or self._digest(headers, "content-digest")
        return Answer(
            offset=0,
            pieces=pieces,
            end=size,
            total=size,
            framed=size is not None or "transfer-encoding" in headers,
            validator=strong_validator(headers),
            digest=stated,
            takes_ranges="bytes" in headers.get("accept-ranges", "").lower().replace(",", " ").split(),
        )

    def _part(self, response: Exchange, pieces: AsyncIterator[Buffer], offset: int) -> Answer:
        headers, value = response.headers, response.headers.get("content-range")
        first, last, total = content_range(value) or (None, None, None)
        if first is None or last is None or first != offset:
            raise self._invalid(f"a range from byte {offset}", "none" if value is None else value[:100])
        size = length_of(headers)
        if size is not None and size != last + 1 - first:
            raise self._invalid(f"a Content-Length of {last + 1 - first} bytes, as Content-Range has", str(size))
        return Answer(
            offset=first,
            pieces=pieces,
            end=last + 1,
            total=total,
            validator=strong_validator(headers),
            digest=self._digest(headers, "repr-digest"),
            is_part=True,
            takes_ranges=True,
        )

    def _digest(self, headers: Mapping[str, str], name: str) -> Digest | None:
        return digest_in_field(headers.get(name), self._algorithm)

    def _refusal(self, response: Exchange, offset: int) -> Exception:
        """Return the error for a response without the file."""
        status = response.status
        words = f"{status} {response.reason}".strip()
        if status in _TRANSIENT:
            sent = date_of(response.headers.get("date"))
            return Transient(words, seconds=retry_after(response.headers.get("retry-after"), now=sent))
        if status == 416 and offset:
            found = content_range(response.headers.get("content-range"))
            return Unsatisfiable(found[2] if found else None)
        if status in {404, 410}:
            return NotFound(self.shown, kind="URL")
        return ServerRefused(self.shown, server_code=str(status), reason=words)

    def _invalid(self, expected: str, actual: str) -> InvalidResponse:
        return InvalidResponse(self.shown, expected=expected, actual=actual)
