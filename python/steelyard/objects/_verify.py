"""Verification: blobs are read again and compared with their digests."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from anyio import EndOfStream

from steelyard._runtime.calls import run, run_always
from steelyard._runtime.concurrent import Emit, check_concurrency, emitted, map_unordered
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidArgument, NotFound
from steelyard.model import Info, OnProgress, Progress, Verified
from steelyard.objects._aside import move_aside
from steelyard.objects._blobs import Blobs
from steelyard.objects._reader import ObjectReader
from steelyard.objects._requests import Requests
from steelyard.objects._uploads import StorageErrors

__all__ = ("verify", "verify_all")


async def verify(
    requests: Requests, blobs: Blobs, digest: Digest, *, quarantine: bool, on_progress: OnProgress | None
) -> None:
    """Compare a blob with its digest; see `ObjectStore.verify`."""
    found = await blobs.look(digest)
    done = 0
    try:
        async with ObjectReader(requests, digest, found) as reader, reader.stream() as stream:
            while True:
                try:
                    done += len(await stream.receive())
                except EndOfStream:
                    break
                if on_progress is not None:
                    on_progress(Progress(phase="verify", name=str(digest), done=done, total=found.size))
    except DataCorrupt:
        if quarantine:
            await move_aside(requests, blobs, digest, found)
        raise
    if on_progress is not None and not done:
        on_progress(Progress(phase="verify", name=str(digest), done=0, total=found.size))


class Verification:
    """The progress of a run over all blobs: all blobs up to `last` are verified, and some after it.

    Args:
        file: keeps `last` for a run of another process.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._begun: deque[Digest] = deque()
        self._beyond: set[Digest] = set()
        self.last: Digest | None = None

    async def start(self, *, resume: bool) -> None:
        """Continue the last run, or begin again."""
        self._begun.clear()
        if not resume:
            self._beyond.clear()
        self.last = await run(_load, self._file) if resume else None

    def begin(self, digest: Digest) -> bool:
        """Note that a blob comes next, and return whether it has to be verified."""
        self._begun.append(digest)
        return digest not in self._beyond

    def end(self, digest: Digest) -> None:
        """Note that a blob is verified."""
        self._beyond.add(digest)
        while self._begun and self._begun[0] in self._beyond:
            self.last = self._begun.popleft()
            self._beyond.discard(self.last)

    async def save(self, *, ended: bool) -> None:
        """Save the progress of this run, or remove it if the run has reached its end."""
        if ended:
            self._beyond.clear()
        await run_always(_save, self._file, None if ended else self.last)


def _load(file: Path) -> Digest | None:
    with StorageErrors(file, "read the progress of verification"):
        try:
            return Digest.parse(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, InvalidArgument, UnicodeDecodeError):
            return None


def _save(file: Path, last: Digest | None) -> None:
    with StorageErrors(file, "save the progress of verification"):
        if last is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(str(last), encoding="utf-8")


def verify_all(
    requests: Requests,
    blobs: Blobs,
    state: Verification,
    *,
    concurrency: int,
    resume: bool,
    quarantine: bool,
    on_progress: OnProgress | None,
) -> AsyncGenerator[Verified, None]:
    """Verify every blob that `state` does not have as verified; see `ObjectStore.verify_all`."""
    check_concurrency(concurrency)

    async def one(info: Info, emit: Emit[Verified]) -> None:
        error = None
        try:
            await verify(requests, blobs, info.digest, quarantine=quarantine, on_progress=on_progress)
        except NotFound:
            return  # it was deleted meanwhile
        except DataCorrupt as damage:
            error = damage
        await emit([Verified(digest=info.digest, size=info.size, error=error)])

    async def each(index: int, info: Info, emit: Emit[Verified]) -> None:
        del index
        if state.begin(info.digest):
            await one(info, emit)
        state.end(info.digest)

    async def work(emit: Emit[Verified]) -> None:
        await state.start(resume=resume)
        ended = False
        try:
            walk = map_unordered(blobs.walk((), start=state.last), each, concurrency=concurrency)
            async with aclosing(walk) as results:
                async for result in results:
                    await emit([result])
            ended = True
        finally:
            await state.save(ended=ended)

    return emitted(work)
