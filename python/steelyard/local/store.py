"""`LocalStore`: the embedded, durable store."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec
from anyio.lowlevel import checkpoint

from steelyard import _native
from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.calls import run, run_always
from steelyard._runtime.chunks import slices
from steelyard._runtime.fork import UNBOUND, Process, ProcessBound
from steelyard._runtime.refqueue import ref_queue
from steelyard.base import BaseStore
from steelyard.digest import Algorithm, Digest
from steelyard.errors import DataCorrupt, FailedPrecondition, InvalidArgument
from steelyard.local import put, put_many, small, verify, walk
from steelyard.local._rows import label_keys, open_ingest, to_info, to_status
from steelyard.local.direct import LocalDirect
from steelyard.local.names import LocalImageNames
from steelyard.local.reader import LocalReader, verified
from steelyard.local.writer import LocalWriter
from steelyard.model import (
    Descriptor,
    Info,
    Labels,
    OnProgress,
    PutManyResult,
    PutResult,
    Source,
    Sources,
    Status,
    Verified,
)
from steelyard.options import IngestOptions, PutOptions, check_ref

__all__ = ("Durability", "LocalStore", "StoreStats")

Durability = Literal["power-loss", "process-crash"]
"""What an acknowledged change survives: the loss of power, or only the death of the process (no flush to the disk)."""

WRITE_BUFFER = 128 << 20
"""Half a MiB for each of 256 writers."""

_BATCH = 512


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a store at one moment.

    Attributes:
        blobs: blobs stored.
        blob_bytes: bytes of all blobs.
        ingests: unfinished ingests.
        ingest_bytes: bytes that they hold.
        quarantined: damaged copies that were moved aside.
        quarantined_bytes: bytes of those.
    """

    blobs: int
    blob_bytes: int
    ingests: int
    ingest_bytes: int
    quarantined: int
    quarantined_bytes: int


class LocalStore(ProcessBound, BaseStore):
    """A store in a directory of a local file system, safe to use from many tasks and many processes at once.

    ```python
    async with LocalStore("/srv/blobs") as store:
        result = await store.put(b"hello")
        assert await store.get(result.digest) == b"hello"
    ```

    The files are the truth: ``blobs/<algorithm>/<encoded>`` holds a blob and nothing else. Labels live in SQLite beside
    them; if that file is lost the blobs are all still there.

    Args:
        path: the root; made with mode 0700 if it is not there. An OCI image layout can be adopted; containerd's content
            root can be opened with `read_only`.
        read_only: change nothing, take no lock, work on a read-only file system.
        durability: ``"power-loss"`` (default): what was acknowledged survives a power cut. ``"process-crash"``: it
            survives the end of the process only; for caches and tests.
        write_buffer: the most bytes of memory in which the writers of this store, all together, gather what they are given
            until it is written.

    Raises (when it is opened):
        IncompatibleFormat: the root has a newer format.
        FailedPrecondition: the root belongs to containerd and `read_only` was not given.
        StorageError: the root is a file, or cannot be made or read.

    Cost:
        `put`: a source of up to 8 MiB takes one hop to a thread, a larger file two. A blob that is stored already and
        undamaged is not written again: a larger file whose size the store has is hashed first, for this reason. Puts of
        up to 1 MiB that wait at the same time share hops and flushes.
        `put_many`: files and bytes of up to 1 MiB from an ordinary iterable go in batches of up to 256, which are hashed
        side by side, written, and made durable by a flush that batches share. Everything else is stored as by `put`,
        several sources at a time. `concurrency` bounds the sources in work; by default 8 batches, or 8 single sources.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        durability: Durability = "power-loss",
        write_buffer: int = WRITE_BUFFER,
    ) -> None:
        if durability not in ("power-loss", "process-crash"):
            raise InvalidArgument(f"durability {durability!r}: expected 'power-loss' or 'process-crash'")
        if write_buffer < 0:
            raise InvalidArgument(f"write_buffer {write_buffer}: expected a number of bytes")
        self._path = Path(path).absolute()
        self._read_only = read_only
        self._durable = durability == "power-loss"
        self._write_buffer = write_buffer
        self._native: tuple[_native.Store, _native.Gather] | None = None
        self._process = UNBOUND

    @property
    def path(self) -> Path:
        """The root, absolute."""
        return self._path

    @property
    def read_only(self) -> bool:
        """Whether the store was opened to change nothing."""
        return self._read_only

    async def aopen(self) -> Self:
        """Open the store, unless it is open; ``async with`` does it."""
        if self._native is None:
            opening = partial(
                _native.Store.open,
                str(self._path),
                read_only=self._read_only,
                durable=self._durable,
                write_buffer=self._write_buffer,
            )
            core = await run(opening)
            self._native, self._process = (core, small.gather(core)), Process()
        return self

    @uninterrupted
    async def aclose(self) -> None:
        """Close the store and all that is open of it; may be called twice.

        Afterwards this process has no file of the store open. Writers are closed as by their own `aclose`: their ingests
        are kept, and their refs are free. What is asked of a writer, reader, stream or walk later raises
        FailedPrecondition; closing it does nothing. A call under way in another task ends first, or raises the same.

        Raises:
            StorageError: not all that a writer had accepted could be kept; everything is closed nevertheless.

        Cancellation:
            Comes after the store is closed.
        """
        native, self._native = self._native, None
        self._process = UNBOUND
        if native is not None:
            try:
                # CANCEL: shielded, because files and refs would stay held.
                await run_always(native[0].close)
            finally:
                ref_queue(self).closed()
        await checkpoint()

    async def __aenter__(self) -> Self:
        return await self.aopen()

    @uninterrupted
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def images(self) -> LocalImageNames:
        """The image names, in SQLite beside the labels; see `steelyard.names`."""
        return LocalImageNames(lambda: self._core)

    def notes(self) -> list[str]:
        """Return what the store found wrong with itself when it was opened, a sentence each; normally nothing."""
        return self._core.notes()

    async def stats(self) -> StoreStats:
        """Count and size what is stored."""
        return StoreStats(**await run(self._core.stats))

    async def rebuild(self) -> list[str]:
        """Make the metadata anew from the blobs and whatever can be read of the old file, which is kept beside it.

        Returns:
            What was kept and what was lost, a sentence each.

        Raises:
            Unavailable: another process has the store open.
        """
        return await run(self._core.rebuild)

    def direct(self) -> LocalDirect:
        """Return the store for threads: the same calls, which block in place of waiting; see `steelyard.containerd.service._direct`.

        It is valid as long as the store is open.
        """
        return LocalDirect(lambda: self._core, ref_queue(self).released)

    # Provider and Ingester

    async def reader_at(self, blob: Descriptor | Digest | str) -> LocalReader:
        """Open a blob for reading; see `Provider.reader_at`."""
        size = blob.size if isinstance(blob, Descriptor) else None
        digest = blob.digest if isinstance(blob, Descriptor) else Digest.parse(blob)
        await checkpoint()
        native = self._core.blob_cached(str(digest))
        if native is None:
            native = await run(self._core.blob, str(digest))
        if size is not None and native.size != size:
            found = native.size
            native.close()
            raise DataCorrupt(str(digest), expected=f"{size} bytes", actual=f"{found} bytes")
        return LocalReader(digest, native)

    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> LocalWriter:
        """Begin or resume an ingest; see `Ingester.writer`. Two stores on one root, in any processes, share refs."""
        options = IngestOptions.parse(ref, size=size, expected=expected, algorithm=algorithm)
        native = await run(open_ingest, self._core, options)
        return LocalWriter(native, ref_queue(self))

    # Manager

    async def info(self, digest: Digest | str) -> Info:
        """Return what is known of a blob; see `Manager.info`."""
        return to_info(await run(self._core.info, str(Digest.parse(digest))))

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return what is known of each that is stored; one trip for `_BATCH` of them."""
        names = [str(Digest.parse(digest)) for digest in digests]
        found: dict[Digest, Info] = {}
        for some in slices(names, _BATCH):
            rows = await run(self._core.infos, some)
            found.update((info.digest, info) for info in map(to_info, rows))
        if not names:
            await checkpoint()
        return found

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels; see `Manager.update`."""
        keys = label_keys(fieldpaths)
        return to_info(await run(self._core.update, str(info.digest), dict(Labels(info.labels)), keys))

    def walk(self, *filters_: str) -> AsyncGenerator[Info, None]:
        """Iterate over matching blobs in the order of their digests; see `Manager.walk`."""
        return walk.walk(lambda: self._core, *filters_)

    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob; see `Manager.delete`."""
        await run(self._core.delete, str(Digest.parse(digest)))

    # IngestManager

    async def status(self, ref: str) -> Status:
        """Return what is known of an ingest; see `IngestManager.status`."""
        return to_status(await run(self._core.status, check_ref(ref)))

    async def list_statuses(self, *filters_: str) -> list[Status]:
        """Return the matching ingests; see `IngestManager.list_statuses`."""
        return [to_status(row) for row in await run(walk.statuses, self._core, filters_)]

    async def abort(self, ref: str) -> None:
        """Discard an ingest; see `IngestManager.abort`."""
        await run(self._core.abort, check_ref(ref))
        ref_queue(self).released(ref)

    # Store

    async def _put(self, source: Source, options: PutOptions) -> PutResult:
        core, puts = self._opened()
        return await put.put(self, core, puts, options, source)

    def _put_many(
        self, sources: Sources, options: PutOptions, concurrency: int | None
    ) -> AsyncGenerator[PutManyResult, None]:
        return put_many.put_many(partial(self._put, options=options), self._core, options, sources, concurrency)

    async def get(self, digest: Digest | str) -> bytes:
        """Return a whole blob, verified; see `Store.get`."""
        async with await self.reader_at(Digest.parse(digest)) as reader:
            return await verified(reader)

    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the blob is stored."""
        return bool(await self.infos([digest]))

    # Verification

    async def verify(
        self, digest: Digest | str, *, quarantine: bool = True, on_progress: OnProgress | None = None
    ) -> None:
        """Read a blob again and compare it with its digest.

        Args:
            digest: the blob.
            quarantine: move a damaged blob aside, to ``quarantine/`` under the root; it is then NotFound.
            on_progress: called with `Progress`.

        Raises:
            NotFound: it is not stored.
            DataCorrupt: it does not match.
        """
        await verify.verify(self._core, Digest.parse(digest), quarantine=quarantine, on_progress=on_progress)

    def verify_all(
        self,
        *,
        concurrency: int = 2,
        resume: bool = False,
        quarantine: bool = True,
        on_progress: OnProgress | None = None,
    ) -> AsyncGenerator[Verified, None]:
        """Verify every blob and yield what was found of each, as it is found.

        Args:
            concurrency: threads at work; each takes a large blob, or up to 64 others, which it hashes side by side.
            resume: leave out what the last run, if it did not reach its end, has verified already.
            quarantine: as for `verify`.
            on_progress: called with `Progress`.

        Cancellation:
            Stops after the pieces under way; a run with `resume` goes on from there.
        """
        return verify.verify_all(
            self._core, concurrency=concurrency, resume=resume, quarantine=quarantine, on_progress=on_progress
        )

    @property
    def _core(self) -> _native.Store:
        return self._opened()[0]

    def _opened(self) -> tuple[_native.Store, _native.Gather]:
        if self._native is None:
            raise FailedPrecondition(f"store {self._path}: not open; use it in `async with`")
        return self._native
