"""The writer that one request holds, and releases while its client stalls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from steelyard._runtime.scopes import managed
from steelyard.content import Writer
from steelyard.digest import Algorithm
from steelyard.errors import Unavailable, Unsupported
from steelyard.web.uploads._records import Record, Records
from steelyard.web.uploads._refusal import Refusal

__all__ = ("UploadWriter", "upload_writer")

_WAIT_SECONDS = 0.5
"""How long a request waits for the previous one, which may be about to end."""

_PAUSE_SECONDS = 0.025


class UploadWriter:
    """The writer of an upload. Only one request of all processes has it at a time, because it holds the lock of the ref.

    Attributes:
        record: the upload.
        offset: the number of its bytes.
    """

    def __init__(self, records: Records, record: Record, algorithm: Algorithm | None, writer: Writer) -> None:
        self.record = record
        self.offset = writer.offset
        self._records = records
        self._algorithm = algorithm
        self._writer: Writer | None = writer
        self._lock = anyio.Lock()

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there, so that it can be committed."""
        return self.offset == self.record.length

    @property
    def is_given_back(self) -> bool:
        """Whether another request may write now."""
        return self._writer is None

    async def writer(self) -> Writer:
        """Return the writer. If it was released, it is opened again.

        Raises:
            Unavailable: another request has it.
            Refusal: 409 if another request has written since.
        """
        if self._writer is not None and not self._lock.locked():
            return self._writer
        async with self._lock:
            if self._writer is None:
                writer = await opened(self._records, self.record, self._algorithm)
                if writer.offset != self.offset:
                    await close(writer)
                    raise Refusal(409, "another request has written to this upload")
                self._writer = writer
            return self._writer

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        writer = await self.writer()
        try:
            await writer.write(data)
        finally:
            # CANCEL: a part of the bytes may be in the ingest.
            self.offset = writer.offset

    async def give_back(self) -> None:
        """Make the bytes so far durable, and let another request write."""
        # CANCEL: shielded, because otherwise the ref would stay locked. The lock is held only briefly.
        with anyio.CancelScope(shield=True):
            async with self._lock:
                writer, self._writer = self._writer, None
                if writer is not None:
                    await writer.aclose()


async def opened(records: Records, record: Record, algorithm: Algorithm | None) -> Writer:
    """Open the writer of an incomplete upload under its lease, at the end of the bytes that count.

    Raises:
        Unavailable: another request has it.
        LeaseEnded: the upload was discarded.
        Refusal: 409 if it is complete by now, 410 if it had to be discarded.
    """
    writer = await _open(records, record, algorithm)
    try:
        await _check(records, record, writer)
    except BaseException:
        await close(writer)
        raise
    return writer


async def _open(records: Records, record: Record, algorithm: Algorithm | None) -> Writer:
    """Open the writer. While another request has it, wait for up to `_WAIT_SECONDS`.

    `steelyard.transfer.open_writer` in a cancel scope would also limit the time of the opening itself. After a kill, opening reads up to
    128 MiB, so a client that tries again would never succeed.
    """
    store = records.store.with_lease(record.ref)
    end = anyio.current_time() + _WAIT_SECONDS
    while True:
        try:
            return await store.writer(record.ref, size=record.length, algorithm=algorithm)
        except Unavailable:
            if anyio.current_time() >= end:
                raise
        await anyio.sleep(_PAUSE_SECONDS)


async def _check(records: Records, record: Record, writer: Writer) -> None:
    """Apply the marks that previous requests have left."""
    found = await records.marks(record)
    if not writer.offset and found.digests and record.length != 0:
        # The upload was committed while this request waited, and this ingest is a new, empty one. An upload of length 0 is committed again.
        await writer.aclose()
        await records.store.abort(record.ref)
        raise Refusal(409, "the upload is complete")
    if found.checked is None:
        return
    if found.checked < writer.offset:
        # These bytes were not compared with their checksum.
        try:
            await writer.truncate(found.checked)
        except Unsupported:
            await writer.aclose()
            await records.remove(record)
            raise Refusal(410, "the store cannot drop bytes that were not compared; the upload was discarded") from None
        # DURABILITY: the truncation must be durable before the mark is removed. Otherwise a power cut could restore the bytes without it.
        await writer.sync()
    # If the mark stayed, the next bytes would not count.
    await records.unmark(record, f"checked={found.checked}")


async def close(writer: Writer) -> None:
    """Close a writer."""
    # CANCEL: shielded, so that the bytes are durable and the ref is free for the next request.
    with anyio.CancelScope(shield=True):
        await writer.aclose()


@managed
async def upload_writer(records: Records, record: Record, algorithm: Algorithm | None) -> AsyncIterator[UploadWriter]:
    """Yield the writer of an incomplete upload. Raises the errors of `opened`."""
    upload = UploadWriter(records, record, algorithm, await opened(records, record, algorithm))
    try:
        if record.length is None:
            upload.record = await records.refresh(
                record
            )  # another request may have set the length while this one waited
        yield upload
    finally:
        await upload.give_back()
