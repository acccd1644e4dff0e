"""Moving a damaged blob aside: a copy of its bytes is kept below `quarantine/`, and the blob is removed."""

from __future__ import annotations

from contextlib import suppress

import anyio

from steelyard.digest import Digest
from steelyard.errors import SteelyardError
from steelyard.objects._blobs import Blobs
from steelyard.objects._layout import blob_key, damaged_key
from steelyard.objects._requests import Missing, Object, Requests, Taken
from steelyard.objects._uploads import part_size

__all__ = ("move_aside",)

_COPY_BYTES = 5 << 30
"""The largest object that one request copies. S3 and most servers have this limit."""

_ABORT_SECONDS = 10
"""The longest wait for the server to discard an upload that failed or was cancelled."""


async def move_aside(requests: Requests, blobs: Blobs, digest: Digest, found: Object) -> None:
    """Keep the bytes of a damaged blob, and remove the blob.

    Args:
        requests: the server.
        blobs: the blobs of the store; the damaged one is deleted from them.
        digest: the blob.
        found: the object that was read. If another client replaces it meanwhile, the new object stays.
    """
    source, target = blob_key(digest), damaged_key(digest)
    try:
        if found.size <= _COPY_BYTES:
            await requests.copy(source, target)
        else:
            await _send_again(requests, source, target, found)
        # A copy has no condition, and another client may have replaced the damaged blob since it was read.
        is_same = (await requests.head(source)).etag == found.etag
    except (Missing, Taken):
        return  # another client was faster
    if not is_same:
        await requests.delete(target)
        return
    await blobs.delete(digest)
    await blobs.gone([digest], "quarantined")


async def _send_again(requests: Requests, source: str, target: str, found: Object) -> None:
    """Copy an object: read and send its parts one after the other, with only one of them in memory."""
    part = part_size(found.size)
    upload = await requests.begin(target)
    try:
        parts = []
        for number, offset in enumerate(range(0, found.size, part)):
            size = min(part, found.size - offset)
            _, data = await requests.get(source, offset=offset, size=size, etag=found.etag)
            parts.append(await requests.part_of(target, upload, number, data))
        await requests.complete(target, upload, parts)
    except BaseException:
        # CANCEL: an upload that is not completed takes space at the server until it is discarded.
        with anyio.move_on_after(_ABORT_SECONDS, shield=True), suppress(SteelyardError):
            await requests.abort(target, upload)
        raise
