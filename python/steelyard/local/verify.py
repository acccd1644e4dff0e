"""Reading blobs again and comparing them with their digests; damaged ones are moved aside."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial

from anyio import CancelScope
from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._runtime.calls import run
from steelyard._runtime.chunks import Batch
from steelyard._runtime.concurrent import Emit, map_unordered
from steelyard._runtime.jobs import watched, whole
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidArgument, NotFound, SteelyardError
from steelyard.local.reader import differs, mismatch
from steelyard.local.walk import walk
from steelyard.model import Info, OnProgress, Progress, Verified

__all__ = ("verify", "verify_all")

_BATCH = 512
"""Rows that are listed, and verifications that are recorded, in one trip to a thread."""

_SIDE_BY_SIDE = 64
"""The most blobs that are verified in one trip, 16 of them side by side in the lanes of one processor…"""

_SIDE_BY_SIDE_BYTES = 256 << 20
"""…and the most bytes, so that results are not long in coming."""

_ALONE = 64 << 20
"""Larger blobs are verified one by one, read and hashed by two processors if both are free."""


async def verify(core: _native.Store, digest: Digest, *, quarantine: bool, on_progress: OnProgress | None) -> None:
    """Verify one blob; see `LocalStore.verify`."""
    failure = await _check(core, digest, on_progress)
    if isinstance(failure, DataCorrupt):
        await _deal_with(core, digest, failure, quarantine=quarantine)
    if failure is not None:
        raise failure
    if not core.read_only:
        await run(core.mark_verified, [str(digest)], time.time_ns())


async def verify_all(
    core: _native.Store, *, concurrency: int, resume: bool, quarantine: bool, on_progress: OnProgress | None
) -> AsyncGenerator[Verified, None]:
    """Verify every blob; see `LocalStore.verify_all`."""
    if resume and core.read_only:
        raise InvalidArgument("a read-only store keeps no record of what was verified; verify it without resume")
    whole: list[str] = []

    async def some(_: int, infos: list[Info], emit: Emit[Verified]) -> None:
        if len(infos) == 1:
            failures = [await _check(core, infos[0].digest, on_progress)]
        else:
            failures = await _check_many(core, infos, on_progress)
        for info, failure in zip(infos, failures, strict=True):
            if isinstance(failure, NotFound):
                continue  # deleted since it was listed
            if failure is not None and not isinstance(failure, DataCorrupt):
                raise failure
            await _deal_with(core, info.digest, failure, quarantine=quarantine)
            await emit(Verified(digest=info.digest, size=info.size, error=failure))

    async def record(*, least: int) -> None:
        if len(whole) >= least and not core.read_only:
            marked = whole.copy()
            whole.clear()
            await run(core.mark_verified, marked, time.time_ns())

    try:
        async with aclosing(
            map_unordered(_sets(_blobs(core, resume=resume)), some, concurrency=concurrency)
        ) as results:
            async for result in results:
                if result.error is None:
                    whole.append(str(result.digest))
                    await record(least=_BATCH)
                yield result
    except BaseException:
        # CANCEL: the record is what a run with `resume` goes on from; a lost one costs reading again, nothing else. The store
        # may be closed by now: nobody waits for an iterator that is closed or collected, and could get the error.
        with CancelScope(shield=True), suppress(SteelyardError):
            await record(least=1)
        raise
    await record(least=1)
    if not core.read_only:
        await run(core.set_verify_started, None)


async def _deal_with(core: _native.Store, digest: Digest, failure: DataCorrupt | None, *, quarantine: bool) -> None:
    """Move a damaged blob aside if that is wished and possible."""
    if failure is not None and quarantine and not core.read_only:
        await run(core.quarantine, str(digest))


async def _check(core: _native.Store, digest: Digest, on_progress: OnProgress | None) -> Exception | None:
    """Read a blob and return what is wrong with it."""
    while True:
        check = _Check(core, digest)

        def report(check: _Check = check) -> None:
            if on_progress is not None and check.size is not None:
                on_progress(Progress(phase="verify", name=str(digest), done=check.job.done, total=check.size))

        # CANCEL: only reads; a cancelled verification leaves nothing behind.
        failure = await watched(check.job, None if on_progress is None else report, check.run)
        if not check.job.cancelled:
            report()
            return failure
        await checkpoint()


class _Check:
    """One blob under verification: one trip to a thread, whatever its size."""

    def __init__(self, core: _native.Store, digest: Digest) -> None:
        self.job = _native.Job()
        self.size: int | None = None
        self._core = core
        self._digest = digest

    def run(self) -> Exception | None:
        """Read the blob and return what is wrong with it; on a worker thread."""
        hasher = _native.Hasher([self._digest.algorithm.value])
        try:
            blob = self._core.blob(str(self._digest))
        except NotFound as missing:
            return missing
        try:
            self.size = blob.size
            blob.hash(hasher, self.job)
        except DataCorrupt as cut:  # the file is shorter than when it was opened
            return cut
        finally:
            blob.close()
        return mismatch(self._digest, hasher)


async def _check_many(core: _native.Store, infos: list[Info], on_progress: OnProgress | None) -> list[Exception | None]:
    """Read blobs side by side and return what is wrong with each, in their order."""
    names = [str(info.digest) for info in infos]
    # CANCEL: as above.
    results = await whole(partial(core.hash_many, names))
    return [_judge(info, result, on_progress) for info, result in zip(infos, results, strict=True)]


def _judge(info: Info, result: tuple[int, str] | Exception | None, on_progress: OnProgress | None) -> Exception | None:
    if not isinstance(result, tuple):
        return result
    size, encoded = result
    if on_progress is not None:
        on_progress(Progress(phase="verify", name=str(info.digest), done=size, total=size))
    return differs(info.digest, encoded)


async def _sets(infos: AsyncGenerator[Info, None]) -> AsyncGenerator[list[Info], None]:
    """Put blobs together that are verified side by side."""
    batch: Batch[Info] = Batch(_SIDE_BY_SIDE, _SIDE_BY_SIDE_BYTES)
    async with aclosing(infos):
        async for info in infos:
            if info.size > _ALONE:
                yield [info]
            elif batch.add(info, info.size):
                yield batch.take()
    if rest := batch.take():
        yield rest


async def _blobs(core: _native.Store, *, resume: bool) -> AsyncGenerator[Info, None]:
    """Iterate over the blobs that this run has to verify, and keep a record of where it is for the next one."""
    started = await run(core.verify_started) if resume else None
    if started is None and not core.read_only:
        started = time.time_ns()
        await run(core.set_verify_started, started)
    before = started if resume else None
    async with aclosing(walk(lambda: core, unverified_before=before)) as infos:
        async for info in infos:
            yield info
