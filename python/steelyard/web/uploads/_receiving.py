"""Receiving the body of a request into an ingest.

**Memory.** One piece of the body is in memory at a time. The server receives the next one when it was taken. Up to 1 MiB of a body with a
checksum is kept until the checksum was compared.

**Time.** If a client sends nothing for a while, its request releases the writer, so that another request, in any process, can continue the
upload. If the client sends again before that happens, its request continues.
"""

from __future__ import annotations

import time
from datetime import timedelta

import anyio
import msgspec

from steelyard._runtime.calls import run
from steelyard._runtime.scopes import task_group
from steelyard.web.uploads._fields import Checksum
from steelyard.web.uploads._records import Records
from steelyard.web.uploads._refusal import Refusal
from steelyard.web.uploads._request import Body
from steelyard.web.uploads._upload_writer import UploadWriter

__all__ = ("Limits", "Receiving")

_CHECKED_BYTES = 1 << 20
"""The most bytes of a body with a checksum that are kept in memory until they were compared."""

_INLINE_BYTES = 64 << 10
"""The largest piece that is hashed in the event loop, which takes 0.1 ms."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a request.

    Attributes:
        max_size: the largest upload in bytes, or None.
        stalled_after: the time without a byte after which another request may continue the upload.
        abandoned_after: the time without a byte after which the request ends.
    """

    max_size: int | None
    stalled_after: timedelta
    abandoned_after: timedelta


class Receiving:
    """The receiving of one body.

    Args:
        records: the uploads.
        upload: the writer.
        body: the body.
        limits: its limits.
        checksum: the checksum of the body, or None.
    """

    def __init__(
        self, records: Records, upload: UploadWriter, body: Body, limits: Limits, checksum: Checksum | None
    ) -> None:
        self._records = records
        self._upload = upload
        self._body = body
        self._limits = limits
        self._checksum = checksum
        self._kept = bytearray()
        self._keeps = checksum is not None
        self._mark: str | None = None
        self._waits_since: float | None = None
        self._is_over = False

    async def run(self) -> None:
        """Receive the whole body, and make its bytes durable.

        If the client disconnects, `Body.broken` is set, and the received bytes count, unless the body has a checksum.

        Raises:
            Refusal: 408 if the client stalls, 413 if the body is too long, 460 if the checksum does not match, 409 or 423 if another request
                has continued the upload.
        """
        async with task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope)
            await self._receive()
            tasks.cancel_scope.cancel()
        if self._is_over:
            raise Refusal(408, "nothing was received for too long; the received bytes are kept")
        await self._end()

    async def _receive(self) -> None:
        body = self._body
        while not body.ended and not body.broken:
            self._waits_since = time.monotonic()
            piece = await body.next()
            self._waits_since = None
            if piece:
                await self._take(piece)

    async def _take(self, piece: bytes) -> None:
        upload = self._upload
        self._check_size(upload.offset + len(self._kept) + len(piece))
        if self._checksum is None:
            await upload.write(piece)
            return
        if upload.is_given_back and self._mark is not None:
            raise Refusal(408, "nothing was received for too long")
        if len(piece) <= _INLINE_BYTES:
            self._checksum.update(piece)
        else:
            await run(self._checksum.update, piece)
        if not self._keeps:
            await upload.write(piece)
        elif len(self._kept) + len(piece) <= _CHECKED_BYTES:
            self._kept += piece
        else:
            # DURABILITY: the mark is written first. Without it, a kill would leave bytes that count although they were not compared.
            self._mark = f"checked={upload.offset}"
            await self._records.mark(upload.record, [self._mark])
            await self._write_kept()
            await upload.write(piece)

    def _check_size(self, size: int) -> None:
        length = self._upload.record.length
        if length is not None and size > length:
            raise Refusal(413, f"the body goes beyond the Upload-Length of {length} bytes")
        if self._limits.max_size is not None and size > self._limits.max_size:
            raise Refusal(413, f"an upload has at most {self._limits.max_size} bytes")

    async def _write_kept(self) -> None:
        kept, self._kept, self._keeps = bytes(self._kept), bytearray(), False
        await self._upload.write(kept)

    async def _end(self) -> None:
        if self._body.broken:
            return  # closing the writer makes the bytes durable; the next request drops bytes with a checksum
        if self._checksum is not None:
            self._checksum.check()
            await self._write_kept()
        writer = await self._upload.writer()
        await writer.sync()
        if self._mark is not None:
            await self._records.unmark(self._upload.record, self._mark)

    async def _watch(self, scope: anyio.CancelScope) -> None:
        """Release the writer after `stalled_after` without a byte, and end the request after `abandoned_after`."""
        stalled, idle = self._limits.stalled_after.total_seconds(), self._limits.abandoned_after.total_seconds()
        while True:
            since = self._waits_since
            waited = 0.0 if since is None else time.monotonic() - since
            if waited >= idle:
                self._is_over = True
                scope.cancel()
                return
            if waited >= stalled and not self._upload.is_given_back:
                await self._upload.give_back()
            # The request may take the writer again, and must then release it again.
            left = stalled if waited >= stalled else stalled - waited
            await anyio.sleep(max(min(left, idle - waited), 0.01))
