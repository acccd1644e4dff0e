"""Reading a blob: in ranges, or as a stream from one request."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
from anyio import ClosedResourceError, EndOfStream
from anyio.abc import ByteReceiveStream

from steelyard._native import ObjectBody
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, NotFound, ServerRefused
from steelyard.model import Descriptor
from steelyard.objects._layout import blob_key
from steelyard.objects._requests import Missing, Object, Requests, Taken
from steelyard.options import check_range
from steelyard.transfer._reader import BaseReader
from steelyard.transfer._small import digest_small

__all__ = ("ObjectReader", "read_whole")

_PIECE = 1 << 20
"""The most bytes that one `receive` of a stream returns."""

_WHOLE = 8 << 20
"""The largest blob that `read_whole` reads by one request."""

_RENEWALS = 8
"""How often in a row an object may have been replaced when it is read."""

ResultT = TypeVar("ResultT")


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
        _, data = await self._requested(partial(self._get, offset, wanted))
        if len(data) != wanted:
            raise DataCorrupt(self._digest, expected=f"{wanted} bytes at {offset}", actual=f"{len(data)} bytes")
        return data

    def stream(self) -> ByteReceiveStream:
        self._check()
        return _Stream(self, 0, verify=True)

    def read_from(self, offset: int = 0) -> ByteReceiveStream:
        self._check()
        check_range(self._digest, self.size, offset, 0)
        return _Stream(self, offset)

    async def aclose(self) -> None:
        self._closed = True
        await anyio.lowlevel.checkpoint()

    def another(self) -> ObjectReader:
        """Return an open reader of the same object."""
        return ObjectReader(self._requests, self._digest, self._found)

    def body(self, offset: int, *, verify: bool) -> ObjectBody:
        """Return the bytes from `offset` to the end, which `receive` fetches."""
        algorithm = self._digest.algorithm if verify else None
        return self._requests.body(blob_key(self._digest), offset=offset, size=self.size - offset, algorithm=algorithm)

    async def receive(self, body: ObjectBody) -> None:
        """Wait until a body has more bytes to take."""
        self._check()
        await self._requested(partial(self._requests.receive, body))

    def check_end(self, left: int, encoded: str | None) -> None:
        """Check a stream at its end.

        Args:
            left: the number of bytes that are missing.
            encoded: the digest of the received bytes in hex, or None if they were not hashed.

        Raises:
            DataCorrupt: bytes are missing, or the digest is another one.
        """
        if left:
            raise DataCorrupt(self._digest, expected=f"{self.size} bytes", actual=f"{self.size - left} bytes")
        if encoded is not None and encoded != self._digest.encoded:
            raise DataCorrupt(
                self._digest, expected=self._digest, actual=Digest(algorithm=self._digest.algorithm, encoded=encoded)
            )

    async def _requested(self, request: Callable[[str | None], Awaitable[ResultT]]) -> ResultT:
        """Request bytes of the object with the ETag that was seen last."""
        for _ in range(_RENEWALS):
            try:
                return await request(self._found.etag)
            except Missing:
                raise NotFound(self._digest) from None
            except Taken:
                # The object was replaced: by the same blob, stored again, unless the size differs.
                self._found = await self._look_again()
        reason = f"{self._digest}: {_RENEWALS} times in a row, the server did not find the object with the ETag that it had just returned"
        raise ServerRefused(self._requests.address, reason=reason)

    async def _get(self, offset: int, size: int, etag: str | None) -> tuple[Object, bytes]:
        return await self._requests.get(blob_key(self._digest), offset=offset, size=size, etag=etag)

    async def _look_again(self) -> Object:
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


class _Stream(ProcessBound, ByteReceiveStream):
    """The bytes of a blob as they arrive. One request receives them ahead of the caller.

    Args:
        reader: the reader of the blob.
        offset: the position of the first byte.
        verify: whether to compare the digest at the end; the offset must then be 0.
    """

    def __init__(self, reader: ObjectReader, offset: int, *, verify: bool = False) -> None:
        self._reader = reader
        self._left = reader.size - offset
        self._body = reader.body(offset, verify=verify)
        self._guard = anyio.ResourceGuard("reading from")
        self._closed = False

    async def receive(self, max_bytes: int = _PIECE) -> bytes:
        if max_bytes <= 0:
            raise ValueError("max_bytes must be positive")
        with self._guard:
            if self._closed:
                raise ClosedResourceError
            await anyio.lowlevel.checkpoint()
            # CANCEL: a call takes no bytes while it waits, so the next call continues at the same byte.
            while (data := self._body.take(min(max_bytes, _PIECE))) is None:
                await self._reader.receive(self._body)
            self._left -= len(data)
            if data:
                return data
            self._reader.check_end(self._left, self._body.encoded())
            raise EndOfStream

    async def aclose(self) -> None:
        self._closed = True
        self._body.close()
        await anyio.lowlevel.checkpoint()


async def read_whole(requests: Requests, blob: Descriptor) -> bytes:
    """Return a whole blob, verified; see `Store.get`. One of up to 8 MiB takes one request."""
    digest = blob.digest
    try:
        found, data = await requests.get(blob_key(digest), size=_WHOLE)
    except Missing:
        raise NotFound(digest) from None
    except ServerRefused as refused:
        if refused.server_code != "InvalidRange":
            raise
        found, data = Object(blob_key(digest), 0, None, 0), b""  # an empty object has no ranges
    blob.check_size(found.size)
    if found.size > len(data):
        whole = io.BytesIO()  # `getvalue` returns the bytes without a copy
        async with ObjectReader(requests, digest, found) as reader, reader.stream() as stream:
            async for piece in stream:
                whole.write(piece)
        return whole.getvalue()
    actual = await digest_small(data, digest.algorithm)
    if actual != digest:
        raise DataCorrupt(digest, expected=digest, actual=actual)
    return data
