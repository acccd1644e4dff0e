"""Unfinished uploads at the server, and which of them are abandoned.

The parts of an unfinished upload take space, and no listing of objects shows them. An upload that this spool does not know may belong to
another spool, which may still continue it. So it counts as abandoned only by its age.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta

import msgspec

from steelyard.digest import Digest
from steelyard.local import LocalStore
from steelyard.objects._layout import BLOBS, blob_key, digest_at
from steelyard.objects._requests import Requests, Upload
from steelyard.objects._uploads import Uploads, note_name
from steelyard.objects._values import to_time

__all__ = ("ABANDONED", "UnfinishedUpload", "abort_abandoned", "unfinished")

ABANDONED = timedelta(days=7)
"""The age after which an upload of another spool counts as abandoned."""


class UnfinishedUpload(msgspec.Struct, frozen=True, kw_only=True):
    """An unfinished upload of a blob in parts.

    Attributes:
        digest: the blob.
        id: the server's ID of the upload.
        begun_at: the time of its start (UTC), by the server's clock.
        ref: the ref of this spool's ingest that continues the upload, or None.
        abandoned: whether no ingest continues it: this spool began it and its ingest is gone, or it began more than 7 days ago by the
            server's clock and belongs to no ingest of this spool.
    """

    digest: Digest
    id: str
    begun_at: datetime
    ref: str | None
    abandoned: bool


async def unfinished(requests: Requests, uploads: Uploads, spool: LocalStore) -> AsyncGenerator[UnfinishedUpload, None]:
    """Yield the unfinished uploads of all spools."""
    end = None
    while True:
        page, end = await requests.uploads(BLOBS, after=end)
        if page and end is not None and end[0] == "key":
            # The next page begins at another key, so all uploads of the last key are requested; at most 1,000 of them are found.
            last = page[-1].key
            of_last, _ = await requests.uploads(last)
            page = [each for each in page if each.key != last] + [each for each in of_last if each.key == last]
        for each in await _judged(page, requests, uploads, spool):
            yield each
        if end is None:
            return


async def _judged(
    page: list[Upload], requests: Requests, uploads: Uploads, spool: LocalStore
) -> list[UnfinishedUpload]:
    found = [(digest, each) for each in page if (digest := digest_at(each.key)) is not None]  # skip other keys
    if not found:
        return []
    # In this order, no upload in use looks abandoned: its note is kept as long as its ingest may continue it.
    noted = await uploads.noted()
    refs = {note_name(status.ref): status.ref for status in await spool.list_statuses()}
    _, now = await requests.server()
    judged = []
    for digest, each in found:
        ref = refs.get(noted.get(each.id, ""))
        begun_at = to_time(each.begun_ns)
        is_old = now is not None and to_time(now) - begun_at > ABANDONED
        abandoned = ref is None and (each.id in noted or is_old)
        judged.append(UnfinishedUpload(digest=digest, id=each.id, begun_at=begun_at, ref=ref, abandoned=abandoned))
    return judged


async def abort_abandoned(
    requests: Requests, uploads: Uploads, spool: LocalStore
) -> AsyncGenerator[UnfinishedUpload, None]:
    """Discard the abandoned uploads, and yield each."""
    noted = await uploads.noted()
    async with aclosing(unfinished(requests, uploads, spool)) as found:
        async for each in found:
            if not each.abandoned:
                continue
            await requests.abort(blob_key(each.digest), each.id)
            if each.id in noted:
                await uploads.forget_note(noted[each.id])
            yield each
