"""Reading a blob: ranges, and a verified stream with several ranges on their way."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio
from anyio import ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream

from steelyard._native import ObjectRequest
from steelyard._runtime.calls import run_always
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, NotFound, ServerRefused
from steelyard.hashing import Hasher
from steelyard.objects._layout import blob_key
from steelyard.objects._requests import Missing, Object, Requests, Taken
from steelyard.options import check_range
from steelyard.transfer._reader import BaseReader
from steelyard.transfer._small import digest_small

__all__ = ("RANGE", "ObjectReader", "read_whole")

RANGE = 4 << 20
"""Bytes of one request of a stream."""

_RANGES = 4
"""Requests of a stream at once."""

_WHOLE = 8 << 20
"""A blob of up to so many bytes is read by one request."""


_RENEWALS = 8
"""How often another object may be found in the place of one that is read."""


class ObjectReader(ProcessBound, BaseReader):
    """An open reader. It holds nothing at the server: after a `delete`, reads raise NotFound.

    Args:
        requests: the server.
        digest: the blob.
        found: its object.
    """

    def __init__(self, requests: Requests, digest: Digest, found: Object) -> None:
        self._requests = requests
        self._digest = digest
        self._found = found
        self._closed = False

    @property
    def digest(self) -> Digest:
        return self._digest

    @property
    def size(self) -> int:
        return self._found.size

    async def read_at(self, offset: int, size: int) -> bytes:
        self._check()
        wanted = check_range(self._digest, self.size, offset, size)
        if not wanted:
            await anyio.lowlevel.checkpoint()
            return b""
        return await self.finish(self.start(offset, wanted), offset, wanted)

    def stream(self) -> ByteReceiveStream:
        self._check()
        return _Ranges(self, 0, Hasher(self.digest.algorithm))

    def read_from(self, offset: int = 0) -> ByteReceiveStream:
        self._check()
        check_range(self._digest, self.size, offset, 0)
        return _Ranges(self, offset)

    async def aclose(self) -> None:
        self._closed = True
        await anyio.lowlevel.checkpoint()

    def another(self) -> ObjectReader:
        """Return an open reader of the same object."""
        return ObjectReader(self._requests, self._digest, self._found)

    def start(self, offset: int, size: int) -> ObjectRequest[Any]:
        """Start to read a range."""
        self._check()
        return self._requests.start_get(blob_key(self._digest), offset=offset, size=size, etag=self._found.etag)

    async def finish(self, request: ObjectRequest[Any], offset: int, size: int) -> bytes:
        """Return the bytes of a range that `start` asked for."""
        for _ in range(_RENEWALS):
            try:
                _, data = await self._requests.finish(request)
            except Missing:
                raise NotFound(self._digest) from None
            except Taken:
                # Another object is there by now: the same blob, stored again, unless its size says otherwise.
                self._found = await self._looked()
                request = self.start(offset, size)
                continue
            if len(data) != size:
                raise DataCorrupt(self._digest, expected=f"{size} bytes at {offset}", actual=f"{len(data)} bytes")
            return bytes(data)
        request.cancel()
        reason = f"{self._digest}: {_RENEWALS} times in a row, the server did not find the object with the ETag that it had just given"
        raise ServerRefused(self._requests.address, reason=reason)

    async def _looked(self) -> Object:
        try:
            found = await self._requests.head(blob_key(self._digest))
        except Missing:
            raise NotFound(self._digest) from None
        if found.size != self.size:
            raise DataCorrupt(self._digest, expected=f"{self.size} bytes", actual=f"{found.size} bytes")
        return found

    def _check(self) -> None:
        if self._closed:
            raise ClosedResourceError


class _Ranges(ByteReceiveStream):
    """Asks for the next ranges while the caller uses the last one.

    Args:
        reader: the blob.
        offset: where it begins.
        hasher: verifies the blob at its end.
    """

    def __init__(self, reader: ObjectReader, offset: int, hasher: Hasher | None = None) -> None:
        self._reader = reader
        self._hasher = hasher
        self._asked = offset
        self._ranges: deque[tuple[int, int, ObjectRequest[Any]]] = deque()
        self._piece = memoryview(b"")
        self._guard = anyio.ResourceGuard("reading from")
        self._closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        with self._guard:
            if self._closed:
                raise ClosedResourceError
            if not self._piece:
                await self._next()
            else:
                await anyio.lowlevel.checkpoint()
            piece, self._piece = self._piece[:max_bytes], self._piece[max_bytes:]
            return bytes(piece)

    async def _next(self) -> None:
        self._ask()
        if not self._ranges:
            await anyio.lowlevel.checkpoint()
            found = self._reader.digest if self._hasher is None else self._hasher.digest()
            if found != self._reader.digest:
                raise DataCorrupt(self._reader.digest, expected=self._reader.digest, actual=found)
            raise EndOfStream
        offset, size, request = self._ranges[0]
        # CANCEL: the range is asked for again by the next call.
        try:
            data = await self._reader.finish(request, offset, size)
        except BaseException:
            self._drop()
            raise
        self._ranges.popleft()
        self._ask()
        self._piece = memoryview(data)
        if self._hasher is not None:
            # CANCEL: what the caller will get is hashed in any case.
            await run_always(self._hasher.update, data)

    def _ask(self) -> None:
        while len(self._ranges) < _RANGES and self._asked < self._reader.size:
            size = min(RANGE, self._reader.size - self._asked)
            self._ranges.append((self._asked, size, self._reader.start(self._asked, size)))
            self._asked += size

    def _drop(self) -> None:
        """End all requests; the next call begins with the first of them."""
        if self._ranges:
            self._asked = self._ranges[0][0]
        for _, _, request in self._ranges:
            request.cancel()
        self._ranges.clear()

    async def aclose(self) -> None:
        self._closed = True
        self._drop()
        await anyio.lowlevel.checkpoint()


async def read_whole(requests: Requests, digest: Digest) -> bytes:
    """Return a whole blob, verified; see `Store.get`. One of up to 8 MiB takes one request."""
    try:
        found, data = await requests.get(blob_key(digest), size=_WHOLE)
    except Missing:
        raise NotFound(digest) from None
    except ServerRefused as refused:
        if refused.server_code != "InvalidRange":
            raise
        found, data = Object(blob_key(digest), 0, None, 0), b""  # an empty object has no ranges
    if found.size > len(data):
        async with ObjectReader(requests, digest, found) as reader, reader.stream() as stream:
            return b"".join([piece async for piece in stream])
    actual = await digest_small(data, digest.algorithm)
    if actual != digest:
        raise DataCorrupt(digest, expected=digest, actual=actual)
    return data
