"""Writing: an open ingest of a `LocalStore`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import anyio
from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.buffers import view
from steelyard._runtime.calls import PIECE, checkpoint_here, run, run_always
from steelyard._runtime.chunks import slices
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.jobs import watched
from steelyard._runtime.refqueue import RefQueue
from steelyard.content import Writer
from steelyard.digest import Digest
from steelyard.local._rows import to_digest, to_info, to_status
from steelyard.model import Buffer, Info, Labels, Status
from steelyard.options import check_size

__all__ = ("LocalWriter",)


class LocalWriter(ProcessBound, Writer):
    """An open ingest. Without a ref it is anonymous: nothing of it stays when it is closed uncommitted."""

    def __init__(self, ingest: _native.Ingest, queue: RefQueue | None) -> None:
        self._ingest = ingest
        self._queue = queue
        self._guard = anyio.ResourceGuard("using this writer")
        self._checkpoint = checkpoint_here()
        self._released = False

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
            Pieces of up to 1 MiB are written and hashed behind the caller, side by side with those of other writers; there is
            a wait only while there is no room for them. Those of `bytes`, or a memoryview of such, are kept until then,
            others of up to 256 KiB are copied. Anything else is hashed and written from the caller's memory, by a trip to a
            thread.
        """
        with self._guard:
            await self._checkpoint()
            if self._ingest.push(data):
                return
            with view(data) as octets:
                if not await self._gather(octets):
                    for piece in slices(octets, PIECE):
                        with piece:
                            # CANCEL: whole pieces are accepted or not; `offset` says where the source has to be continued.
                            await run(self._ingest.write, piece)

    async def _gather(self, octets: memoryview) -> bool:
        """Have bytes written behind us, as soon as there is room for them; return False if there never will be."""
        while not (taken := self._ingest.push(octets)):
            if taken is None:
                return False
            # CANCEL: the bytes are not accepted yet.
            await run(self._ingest.room, octets.nbytes)
        return True

    async def copy_from(
        self, file: int, start: int, most: int | None, report: Callable[[], object] | None = None
    ) -> None:
        """Append bytes of a file, in one trip to a thread.

        Args:
            file: a descriptor that can be read at any offset; its own position is left alone.
            start: the offset of the first byte.
            most: the most bytes; None for all up to the file's end.
            report: called every now and then meanwhile, when `offset` may have moved.

        Raises:
            OSError: the file cannot be read; the bytes before count in `offset`.
            WriterClosed, Aborted, StorageError: as `write`.

        Cancellation:
            A part of the bytes is accepted; `offset` says how much.
        """
        with self._guard:
            done = 0
            while True:
                job = _native.Job()
                left = None if most is None else most - done
                done += await watched(job, report, self._ingest.copy_from, file, start + done, left, job, None)
                if not job.cancelled:
                    return
                # CANCEL: the ingest holds what was copied.
                await checkpoint()

    async def digest(self) -> Digest:
        """Return the digest of the bytes accepted so far."""
        with self._guard:
            await self._catch_up()
            return to_digest(*await run(self._ingest.digest))

    async def status(self) -> Status:
        """Return the ingest's status."""
        with self._guard:
            return to_status(await run(self._ingest.status))

    async def truncate(self, size: int) -> None:
        """Cut the ingest to its first `size` bytes.

        Cost:
            The hash starts again from the nearest saved state; what lies between is read again when it is next needed.
        """
        check_size(size)
        with self._guard:
            await run(self._ingest.truncate, size)

    async def sync(self) -> None:
        """Make the bytes accepted so far, and the hash state at their end, durable."""
        with self._guard:
            await self._catch_up()
            await run(self._ingest.sync)

    @uninterrupted
    async def commit(
        self,
        size: int | None = None,
        expected: Digest | str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        verify: bool = False,
    ) -> Info:
        """Publish the ingest and close the writer; see `Writer.commit`.

        Cost:
            One flush of the bytes and one of the name. With `verify` the file is read once more, 8 MiB at a time; what the
            kernel has in memory is read from there.
        """
        with self._guard:
            try:
                check_size(size)
                digest = None if expected is None else Digest.parse(expected)
                checked = None if labels is None else dict(Labels(labels))
                if digest is not None and digest.algorithm != self._ingest.algorithm:
                    await run(self._ingest.set_algorithm, digest.algorithm.value)
                # CANCEL: nothing has happened but what would have anyway.
                if (written := self._ingest.written) is not None:
                    await run(written)
                await self._catch_up()
                # CANCEL: only reads; the ingest keeps its bytes.
                while verify and await run(self._ingest.recheck, PIECE) > 0:
                    pass
                # CANCEL: before the piece starts the ingest keeps its bytes; afterwards it is waited for and has happened.
                row = await run(self._ingest.commit, size, None if digest is None else str(digest), checked)
            finally:
                await self._release()
        return to_info(row)

    @uninterrupted
    async def aclose(self) -> None:
        """Keep the ingest for a resume and free the ref."""
        await self._release()
        await checkpoint()

    async def _catch_up(self) -> None:
        """Hash again what was written before this writer, where no saved state covers it, in bounded pieces."""
        # CANCEL: only reads; the next call goes on where this one stopped.
        while await run(self._ingest.catch_up, PIECE):
            pass

    @uninterrupted
    async def _release(self) -> None:
        # CANCEL: shielded, because an unreleased ref would stay held until the writer is garbage.
        try:
            await run_always(self._ingest.close)
        finally:
            if self._queue is not None and not self._released:
                self._queue.released(self.ref)
            self._released = True
