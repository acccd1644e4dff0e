"""Verification: read blobs again, compare them with their digests, and move damaged blobs aside."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial

from anyio import CancelScope
from anyio.lowlevel import checkpoint

from steelyard._runtime.calls import run
from steelyard._runtime.chunks import Batch
from steelyard._runtime.concurrent import Emit, map_unordered
from steelyard._runtime.jobs import watched, whole
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidArgument, NotFound, SteelyardError
from steelyard.local.blocking import BlockingStore
from steelyard.local.blocking._verify import BlobCheck, check_many
from steelyard.local.walk import walk
from steelyard.model import Info, OnProgress, Progress, Verified

__all__ = ("verify", "verify_all")

_BATCH = 512
"""The number of verifications that are recorded in one hop."""

_SIDE_BY_SIDE = 64
"""The most blobs that are verified in one hop. One processor hashes up to 16 of them at a time, in lanes."""

_SIDE_BY_SIDE_BYTES = 256 << 20
"""The most bytes that are verified in one hop, so that results arrive soon."""

_SINGLE_BYTES = 64 << 20
"""Larger blobs are verified one by one, read and hashed by two processors if both are free."""


async def verify(store: BlockingStore, digest: Digest, *, quarantine: bool, on_progress: OnProgress | None) -> None:
    """Verify one blob; see `LocalStore.verify`."""
    failure = await _check(store, digest, on_progress)
    if isinstance(failure, DataCorrupt):
        await _quarantine_if(store, digest, failure, quarantine=quarantine)
    if failure is not None:
        raise failure
    if not store.read_only:
        await run(store.native.mark_verified, [str(digest)], time.time_ns())


async def verify_all(
    store: BlockingStore, *, concurrency: int, resume: bool, quarantine: bool, on_progress: OnProgress | None
) -> AsyncGenerator[Verified, None]:
    """Verify every blob; see `LocalStore.verify_all`."""
    if resume and store.read_only:
        raise InvalidArgument("a read-only store keeps no record of what was verified; verify it without resume")
    undamaged: list[str] = []

    async def some(_: int, infos: list[Info], emit: Emit[Verified]) -> None:
        if len(infos) == 1:
            failures = [await _check(store, infos[0].digest, on_progress)]
        else:
            failures = await _check_many(store, infos, on_progress)
        for info, failure in zip(infos, failures, strict=True):
            if isinstance(failure, NotFound):
                continue  # deleted since it was listed
            if failure is not None and not isinstance(failure, DataCorrupt):
                raise failure
            await _quarantine_if(store, info.digest, failure, quarantine=quarantine)
            await emit([Verified(digest=info.digest, size=info.size, error=failure)])

    async def record(*, least: int) -> None:
        if len(undamaged) >= least and not store.read_only:
            marked = undamaged.copy()
            undamaged.clear()
            await run(store.native.mark_verified, marked, time.time_ns())

    try:
        async with aclosing(
            map_unordered(_sets(_blobs(store, resume=resume)), some, concurrency=concurrency)
        ) as results:
            async for result in results:
                if result.error is None:
                    undamaged.append(str(result.digest))
                    await record(least=_BATCH)
                yield result
    except BaseException:
        # CANCEL: a run with `resume` continues from the record; a lost record only means that blobs are read again. The store
        # may be closed by now, and the error has no receiver: no task waits for an iterator that is closed or collected.
        with CancelScope(shield=True), suppress(SteelyardError):
            await record(least=1)
        raise
    await record(least=1)
    if not store.read_only:
        await run(store.native.set_verify_started, None)


async def _quarantine_if(
    store: BlockingStore, digest: Digest, failure: DataCorrupt | None, *, quarantine: bool
) -> None:
    """Move a damaged blob aside if the caller asked for it and the store is not read-only."""
    if failure is not None and quarantine and not store.read_only:
        await run(store.native.quarantine, str(digest))


async def _check(store: BlockingStore, digest: Digest, on_progress: OnProgress | None) -> Exception | None:
    """Read a blob and return its error, or None."""
    while True:
        check = BlobCheck(store, digest)

        def report(check: BlobCheck = check) -> None:
            if on_progress is not None and check.size is not None:
                on_progress(Progress(phase="verify", name=str(digest), done=check.job.done, total=check.size))

        # CANCEL: only reads; a cancelled verification leaves nothing behind.
        failure = await watched(check.job, None if on_progress is None else report, check.run)
        if not check.job.cancelled:
            report()
            return failure
        await checkpoint()


async def _check_many(
    store: BlockingStore, infos: list[Info], on_progress: OnProgress | None
) -> list[Exception | None]:
    """Read blobs in parallel, and return the error of each, or None, in their order."""
    digests = [info.digest for info in infos]
    # CANCEL: as above.
    checked = await whole(partial(check_many, store, digests))
    for digest, (size, _) in zip(digests, checked, strict=True):
        if size is not None and on_progress is not None:
            on_progress(Progress(phase="verify", name=str(digest), done=size, total=size))
    return [failure for _, failure in checked]


async def _sets(infos: AsyncGenerator[Info, None]) -> AsyncGenerator[list[Info], None]:
    """Divide blobs into lists. The blobs of a list are verified in one hop."""
    batch: Batch[Info] = Batch(_SIDE_BY_SIDE, _SIDE_BY_SIDE_BYTES)
    async with aclosing(infos):
        async for info in infos:
            if info.size > _SINGLE_BYTES:
                yield [info]
            elif batch.add(info, info.size):
                yield batch.take()
    if rest := batch.take():
        yield rest


async def _blobs(store: BlockingStore, *, resume: bool) -> AsyncGenerator[Info, None]:
    """Iterate over the blobs that this run has to verify. Without `resume`, first record the start of the run."""
    started = await run(store.native.verify_started) if resume else None
    if started is None and not store.read_only:
        started = time.time_ns()
        await run(store.native.set_verify_started, started)
    before = started if resume else None
    async with aclosing(walk(lambda: store, unverified_before=before)) as infos:
        async for info in infos:
            yield info
