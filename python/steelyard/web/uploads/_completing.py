"""The end of an upload: its commit, and the call that notifies the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from steelyard.errors import AlreadyExists, NotFound
from steelyard.web.uploads._fields import http_time
from steelyard.web.uploads._records import Record, Records, Upload
from steelyard.web.uploads._refusal import Refusal
from steelyard.web.uploads._upload_writer import UploadWriter

__all__ = ("Completing", "OnComplete")

OnComplete = Callable[[Upload], Awaitable[object]]
"""A function that is called with a complete upload, at least once."""


class Completing:
    """Commits uploads that have all their bytes, and notifies the application of them.

    Args:
        records: the uploads.
        on_complete: called with each complete upload, or None.
    """

    def __init__(self, records: Records, on_complete: OnComplete | None) -> None:
        self._records = records
        self._on_complete = on_complete
        self._notifying: set[str] = set()

    async def end(self, upload: UploadWriter) -> dict[str, str]:
        """Commit the upload if all its bytes are there. Return the fields of the answer."""
        record = upload.record
        if not upload.is_complete:
            return {"Upload-Offset": str(upload.offset), "Upload-Expires": http_time(record.expires_at)}
        writer = await upload.writer()
        await writer.sync()
        digest = await writer.digest()
        # DURABILITY: the digest enters the lease before the commit removes the ingest. So after a kill in between, the upload counts as complete.
        await self._records.mark(record, [] if self._on_complete is None else ["owed"], [digest])
        with suppress(AlreadyExists):
            # CANCEL: the next request finds the ingest and commits it, or finds the blob.
            await writer.commit(size=upload.offset)
        self._records.unfinished.end(record.ref)
        return await self.notify(await self._records.refresh(record))

    async def notify(self, record: Record) -> dict[str, str]:
        """Notify the application of a complete upload, unless it was notified. Return the fields of the answer.

        Raises:
            Refusal: 423 while another request is notifying it, 500 if it raised an error.
        """
        info = record.info
        if info is None:
            raise Refusal(410, "the upload was discarded")
        if record.is_owed and self._on_complete is not None:
            if record.ref in self._notifying:
                raise Refusal(423, "another request is about to complete this upload", retry_after="1")
            self._notifying.add(record.ref)
            try:
                await self._on_complete(record.upload())
            except Exception as error:
                raise Refusal(500, "the application failed; the upload is complete, ask again") from error
            finally:
                self._notifying.discard(record.ref)
            # CANCEL: the mark stays, and the application is notified again.
            await self._records.unmark(record, "owed")
        size = str(info.size)
        return {"Upload-Offset": size, "Upload-Length": size, "Steelyard-Digest": str(info.digest)}

    async def notify_all(self) -> list[Exception]:
        """Notify the application of all complete uploads for which it was not notified yet. Return the errors that it raised."""
        errors: list[Exception] = []
        for record in () if self._on_complete is None else await self._records.all():
            try:
                try:
                    found = await self._records.refresh(record)
                except NotFound:
                    continue  # it was discarded meanwhile
                if found.info is not None:
                    await self.notify(found)
            except Refusal as refusal:
                if isinstance(refusal.__cause__, Exception):
                    errors.append(refusal.__cause__)
        return errors
