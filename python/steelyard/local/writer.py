"""Writing: an open ingest of a `LocalStore`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._runtime.buffers import view
from steelyard._runtime.calls import CALL_BYTES, checkpoint_here, run, run_always, run_job
from steelyard._runtime.chunks import slices
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.jobs import watched
from steelyard.content import Writer
from steelyard.digest import Digest
from steelyard.local.blocking import BlockingIngest
from steelyard.model import Buffer, Info, Status
from steelyard.options import CommitOptions

__all__ = ("LocalWriter",)

ResultT = TypeVar("ResultT")


class LocalWriter(ProcessBound, Writer):
    """An open ingest. An ingest without a ref is anonymous: if it is closed without a commit, nothing of it remains."""

    def __init__(self, ingest: BlockingIngest) -> None:
        self._ingest = ingest
        self._native = ingest.native
        self._guard = anyio.ResourceGuard("using this writer")
        self._checkpoint = checkpoint_here()

    @property
    def ref(self) -> str:
        """The caller's name of the ingest."""
        return self._ingest.ref

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return self._ingest.offset

    async def write(self, data: Buffer) -> None:
        """Append all of `data`; see `Writer.write`.

        Cost:
            Pieces of up to 1 MiB go to the write buffer: other threads write and hash them, together with
            those of other writers, and the call waits only while the buffer is full. A `bytes` object, or a memoryview
            of one, is kept until it is written; other pieces of up to 256 KiB are copied. Anything else takes a hop,
            which hashes and writes it from the caller's memory.
        """
        with self._guard:
            await self._checkpoint()
            if self._native.push(data):
                return
            with view(data) as octets:
                if not await self._buffered(octets):
                    for piece in slices(octets, CALL_BYTES):
                        with piece:
                            # CANCEL: each piece is accepted as a whole or not at all; `offset` says where the source must continue.
                            await run(self._native.write, piece)

    async def _buffered(self, octets: memoryview) -> bool:
        """Put the bytes into the write buffer as soon as it has room; return False if they will never fit."""
        while not (taken := self._native.push(octets)):
            if taken is None:
                return False
            # CANCEL: the bytes are not accepted yet.
            await run(self._native.room, octets.nbytes)
        return True

    async def copy_from(
        self, file: int, offset: int, most: int | None, report: Callable[[], object] | None = None
    ) -> None:
        """Append bytes of a file, in one hop.

        Args:
            file: a descriptor that can be read at any offset; its file position does not change.
            offset: the offset of the first byte in the file.
            most: the most bytes; None for all up to the file's end.
            report: called from time to time, when `Writer.offset` may have changed.

        Raises:
            OSError: the file cannot be read; the bytes before count in `Writer.offset`.
            WriterClosed, Aborted, StorageError: as `write`.

        Cancellation:
            A part of the bytes may have been accepted; `Writer.offset` says how many.
        """
        with self._guard:
            done = 0
            while True:
                job = _native.Job()
                left = None if most is None else most - done
                done += await watched(job, report, self._native.copy_from, file, offset + done, left, job, None)
                if not job.cancelled:
                    return
                # CANCEL: the ingest keeps the bytes that were copied.
                await checkpoint()

    async def digest(self) -> Digest:
        """Return the digest of the bytes accepted so far."""
        with self._guard:
            return await self._caught_up(self._ingest.digest)

    async def status(self) -> Status:
        """Return the ingest's status."""
        with self._guard:
            return await run(self._ingest.status)

    async def truncate(self, size: int) -> None:
        """Truncate the ingest to its first `size` bytes.

        Cost:
            Hashing restarts from the nearest saved state; the bytes after that state are read again when the hash is needed.
        """
        with self._guard:
            await run(self._ingest.truncate, size)

    async def sync(self) -> None:
        """Make the bytes accepted so far, and the hash state at their end, durable."""
        with self._guard:
            await self._caught_up(self._ingest.sync)

    async def _commit(self, options: CommitOptions) -> Info:
        # One flush of the bytes and one of the name. `verify` reads the file once more, from the page cache if possible.
        with self._guard:
            try:
                while True:
                    job = _native.Job()
                    commit = partial(self._ingest.commit_in_steps, job, options)
                    # CANCEL: before all bytes are hashed, the commit ends early without an effect. Afterwards this call
                    # waits until the commit has happened.
                    info = await run_job(job, self._native.when_written(commit))
                    if info is not None:
                        return info
                    await checkpoint()
            finally:
                await self._release()

    async def seal(self, options: CommitOptions) -> tuple[Digest, int, str]:
        """Check the ingest as a commit does and make it durable, but publish nothing: for a store that keeps its blobs in another place.

        Returns:
            The digest, the size, and a path by which this process can read the bytes until the writer is closed.

        Raises:
            UnexpectedSize, UnexpectedDigest, DataCorrupt: as `commit`; the writer stays open.
        """
        with self._guard:
            while True:
                job = _native.Job()
                # CANCEL: the only effect is that bytes were hashed.
                sealed = await run_job(
                    job, self._native.when_written(partial(self._ingest.seal_in_steps, job, options))
                )
                if sealed is not None:
                    return sealed
                await checkpoint()

    async def aclose(self) -> None:
        """Keep the ingest for a resume and free the ref."""
        await self._release()
        await checkpoint()

    async def _caught_up(self, call: Callable[[], ResultT]) -> ResultT:
        """Hash the remaining bytes, then make the call, in one hop. Only the hashing can be cancelled."""

        def caught_up() -> tuple[ResultT] | None:
            return (call(),) if self._ingest.catch_up(job) else None

        while True:
            job = _native.Job()
            # CANCEL: only reads; the next call continues where this one stopped.
            result = await run_job(job, caught_up)
            if result is not None:
                return result[0]
            await checkpoint()

    async def _release(self) -> None:
        # CANCEL: shielded, because an unreleased ref would stay held until the writer is garbage.
        if not self._ingest.closed:
            await run_always(self._ingest.close)
