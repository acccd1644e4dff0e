"""The end of an upload: its commit, and the call that tells the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from steelyard.errors import AlreadyExists
from steelyard.web.uploads._fields import http_time
from steelyard.web.uploads._held import Held
from steelyard.web.uploads._records import Record, Records, Upload
from steelyard.web.uploads._refusal import Refusal

__all__ = ("Completing", "OnComplete")

OnComplete = Callable[[Upload], Awaitable[object]]
"""Called with a complete upload, once or more often."""


class Completing:
    """Commits uploads that have all their bytes, and tells the application of them.

    Args:
        records: the uploads.
        on_complete: called with each complete upload, or None.
    """

    def __init__(self, records: Records, on_complete: OnComplete | None) -> None:
        self._records = records
        self._on_complete = on_complete
        self._telling: set[str] = set()

    async def end(self, held: Held) -> dict[str, str]:
        """End a request: commit the upload if all its bytes are there. Return the fields of the answer."""
        record = held.record
        if not held.is_complete:
            return {"Upload-Offset": str(held.offset), "Upload-Expires": http_time(record.expires_at)}
        writer = await held.writer()
        await writer.sync()
        digest = await writer.digest()
        # DURABILITY: the digest is in the lease before the ingest is gone. So the upload is known to be complete after a kill in between.
        await self._records.mark(record, [] if self._on_complete is None else ["owed"], [digest])
        with suppress(AlreadyExists):
            # CANCEL: the next request finds the ingest and commits it, or finds the blob.
            await writer.commit(size=held.offset)
        return await self.tell(await self._records.refresh(record))

    async def tell(self, record: Record) -> dict[str, str]:
        """Tell the application of a complete upload, unless it knows. Return the fields of the answer.

        Raises:
            Refusal: 423 while another request is telling it, 500 if it raised an error.
        """
        info = record.info
        if info is None:
            raise Refusal(410, "the upload was discarded")
        if record.is_owed and self._on_complete is not None:
            if record.ref in self._telling:
                raise Refusal(423, "another request is about to complete this upload", retry_after="1")
            self._telling.add(record.ref)
            try:
                await self._on_complete(record.upload())
            except Exception as error:
                raise Refusal(500, "the application failed; the upload is complete, ask again") from error
            finally:
                self._telling.discard(record.ref)
            # CANCEL: the mark stays, and the application is told again.
            await self._records.unmark(record, "owed")
        size = str(info.size)
        return {"Upload-Offset": size, "Upload-Length": size, "Steelyard-Digest": str(info.digest)}

    async def tell_all(self) -> list[Exception]:
        """Tell the application of all complete uploads that it does not know. Return the errors that it raised."""
        errors: list[Exception] = []
        for record in () if self._on_complete is None else await self._records.all():
            try:
                found = await self._records.refresh(record)
                if found.info is not None:
                    await self.tell(found)
            except Refusal as refusal:
                if isinstance(refusal.__cause__, Exception):
                    errors.append(refusal.__cause__)
        return errors
