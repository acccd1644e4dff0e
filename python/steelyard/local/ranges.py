"""Reading parts of many blobs of a `LocalStore`, in one hop for each 8 MiB."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from steelyard import _native
from steelyard._runtime.calls import CALL_BYTES
from steelyard._runtime.jobs import whole
from steelyard.local.blocking import BlockingBlob, BlockingStore
from steelyard.options import ReadRange

__all__ = ("read_ranges",)


async def read_ranges(store: BlockingStore, ranges: Sequence[ReadRange]) -> list[bytes | Exception]:
    """Read parts of many blobs; see `Store._read_ranges`. A part of more than `CALL_BYTES` has a hop of its own.

    Cancellation:
        Ends the hop early.
    """
    found: list[bytes | Exception] = []
    while len(found) < len(ranges):
        found += await whole(partial(_some, store, ranges, len(found)))
    return found


def _some(store: BlockingStore, ranges: Sequence[ReadRange], start: int, job: _native.Job) -> list[bytes | Exception]:
    """Read parts, from number `start` on, up to `CALL_BYTES` in total. Runs on a thread."""
    found: list[bytes | Exception] = []
    blob, total = None, 0
    try:
        for part in ranges[start:]:
            try:
                if blob is None or blob.digest != part.digest:
                    if blob is not None:
                        blob.close()
                    blob = None  # the next blob may not be stored
                    blob = store.blob(part.digest)
                offset, size = part.within(blob.size)
                if found and total + size > CALL_BYTES:
                    break
                total += size
                found.append(_read(blob, offset, size, job))
            except Exception as error:  # noqa: BLE001  # the result carries it
                found.append(error)
            if job.cancelled:
                break
    finally:
        if blob is not None:
            blob.close()
    return found


def _read(blob: BlockingBlob, offset: int, size: int, job: _native.Job) -> bytes:
    if size < blob.size:
        return blob.read_at(offset, size, job)
    data, failure = blob.read(job)
    if failure is not None and not job.cancelled:
        raise failure
    return data
