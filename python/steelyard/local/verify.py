"""Reading blobs again and comparing them with their digests; damaged ones are moved aside."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from steelyard import _native, filters
from steelyard._bridge import PIECE, run
from steelyard._types import OnProgress
from steelyard._unordered import unordered
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidArgument, NotFound
from steelyard.local._rows import to_info
from steelyard.local.reader import mismatch
from steelyard.model import Info, Progress, Verified

__all__ = ("verify", "verify_all")

_BATCH = 512


async def verify(core: _native.Store, digest: Digest, *, quarantine: bool, on_progress: OnProgress | None) -> None:
    """Verify one blob; see `LocalStore.verify`."""
    blob = await run(core.blob, str(digest))
    try:
        hasher = _native.Hasher([digest.algorithm.value])
        offset = 0
        failure: DataCorrupt | None = None
        try:
            # CANCEL: only reads; a cancelled verification leaves nothing behind.
            while count := await run(blob.hash_at, hasher, offset, PIECE):
                offset += count
                if on_progress is not None:
                    on_progress(Progress(phase="verify", name=str(digest), done=offset, total=blob.size))
        except DataCorrupt as cut:  # the file is shorter than when it was opened
            failure = cut
        failure = failure or mismatch(digest, hasher)
    finally:
        blob.close()
    if core.read_only:
        quarantine = False
    elif failure is None:
        await run(core.mark_verified, [str(digest)], time.time_ns())
    if failure is not None:
        if quarantine:
            await run(core.quarantine, str(digest))
        raise failure


async def verify_all(
    core: _native.Store, *, concurrency: int, resume: bool, quarantine: bool, on_progress: OnProgress | None
) -> AsyncGenerator[Verified, None]:
    """Verify every blob; see `LocalStore.verify_all`."""
    if resume and core.read_only:
        raise InvalidArgument("a read-only store keeps no record of what was verified; verify it without resume")

    async def one(_: int, info: Info) -> Verified | None:
        error = None
        try:
            await verify(core, info.digest, quarantine=quarantine, on_progress=on_progress)
        except DataCorrupt as found:
            error = found
        except NotFound:
            return None  # deleted since it was listed
        return Verified(digest=info.digest, size=info.size, error=error)

    async with aclosing(unordered(_blobs(core, resume=resume), one, concurrency=concurrency)) as results:
        async for result in results:
            yield result
    if not core.read_only:
        await run(core.set_verify_started, None)


async def _blobs(core: _native.Store, *, resume: bool) -> AsyncGenerator[Info, None]:
    """Iterate over the blobs that this run has to verify, and keep a record of where it is for the next one."""
    started = await run(core.verify_started) if resume else None
    if started is None and not core.read_only:
        started = time.time_ns()
        await run(core.set_verify_started, started)
    everything = filters.compile().native
    cursor = await run(partial(core.walk, everything, unverified_before=started if resume else None))
    while rows := await run(cursor.next, _BATCH):
        for row in rows:
            yield to_info(row)
