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

_COPIED = 5 << 30
"""The most bytes that a server copies by one request. S3 and most servers have this limit."""

_END = 10
"""The longest wait, in seconds, for the server to discard an upload that was cancelled."""


async def move_aside(requests: Requests, blobs: Blobs, digest: Digest, found: Object) -> None:
    """Keep the bytes of a damaged blob, and remove the blob.

    Args:
        requests: the server.
        blobs: lose the blob.
        digest: the blob.
        found: its object, which was read. It stays if another client replaces it meanwhile.
    """
    source, target = blob_key(digest), damaged_key(digest)
    try:
        if found.size <= _COPIED:
            await requests.copy(source, target)
        else:
            await _send_again(requests, source, target, found)
        # A copy has no condition, and another client may have healed the blob since it was read.
        is_same = (await requests.head(source)).etag == found.etag
    except (Missing, Taken):
        return  # another client was faster
    if not is_same:
        await requests.delete(target)
        return
    await blobs.delete(digest)
    await blobs.gone([digest], "quarantined")


async def _send_again(requests: Requests, source: str, target: str, found: Object) -> None:
    """Copy an object by reading and sending its parts, one after the other: it takes the memory of one."""
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
        with anyio.move_on_after(_END, shield=True), suppress(SteelyardError):
            await requests.abort(target, upload)
        raise
