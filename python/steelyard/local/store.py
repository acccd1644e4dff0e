"""`LocalStore`: the embedded, durable store."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Self

from steelyard._lazy import Module
from steelyard._runtime.fork import UNBOUND, Process, ProcessBound
from steelyard._runtime.opening import opening
from steelyard.base import BaseStore
from steelyard.local._defaults import WRITE_BUFFER, Durability

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence
    from datetime import timedelta
    from pathlib import Path

    from steelyard.collection import CollectDefaults, Collected, CollectOptions, Reason
    from steelyard.digest import Algorithm, Digest
    from steelyard.events import Events
    from steelyard.local import _engine as engine
    from steelyard.local import collect as _collecting
    from steelyard.local.blocking import BlockingStore, Quarantined, StoreStats
    from steelyard.local.leases import LocalLeases
    from steelyard.local.names import LocalImageNames
    from steelyard.local.put import Puts
    from steelyard.local.reader import LocalReader
    from steelyard.local.writer import LocalWriter
    from steelyard.model import (
        Blobs,
        DeleteManyResult,
        Descriptor,
        Info,
        Labels,
        OnProgress,
        PutManyResult,
        PutResult,
        Source,
        Sources,
        Status,
        UpdateManyResult,
        Verified,
    )
    from steelyard.options import LabelChange, PutOptions, ReadRange
else:
    engine, _collecting = map(Module, ("steelyard.local._engine", "steelyard.local.collect"))

__all__ = ("LocalStore",)


class LocalStore(ProcessBound, BaseStore):
    """A store in a directory of a local file system, safe to use from many tasks and many processes at once.

    ```python
    async with LocalStore("/srv/blobs") as store:
        result = await store.put(b"hello")
        assert await store.get(result.digest) == b"hello"
    ```

    ``blobs/<algorithm>/<encoded>`` holds a blob and nothing else. Labels and image names are in SQLite beside the blobs;
    the loss of that file loses no blob.

    Args:
        path: the root; created with mode 0700 if it does not exist. An OCI image layout can be adopted; containerd's content
            root can be opened with `read_only`.
        read_only: change nothing and take no lock; this also works on a read-only file system.
        durability: with ``"power-loss"`` (default) acknowledged data survives a power cut; with ``"process-crash"`` it
            survives only the end of the process, for caches and tests.
        write_buffer_bytes: the most bytes of memory for buffered writes, for all writers of this store together.

    Raises (when it is opened):
        IncompatibleFormat: the root has a newer format.
        FailedPrecondition: the root belongs to containerd, and `read_only` is not set.
        StorageError: the root is a file, or cannot be made or read.

    Cost:
        `put`: a source of up to 8 MiB takes one hop to a thread, a larger file two. A blob that is already stored and
        undamaged is not written again: a larger file is therefore hashed first if a blob of its size is stored. Puts of
        up to 1 MiB that wait at the same time share hops and flushes.
        `writer`: opening takes one hop, a write that fits into the write buffer none, and `commit` one, which also closes
        the writer.
        `put_many`: files and bytes of up to 1 MiB go in batches of up to 256, which are hashed in lanes, written, and made
        durable by a flush that batches share; each batch takes one hop. No source waits for a batch to fill: those of an
        async iterable that arrive during a hop are the next batch. Other sources are stored as by `put`, several at a
        time. `concurrency` is the most sources at a time; by default 8 full batches, or 8 single sources, or 32 of an
        async iterable.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        durability: Durability = "power-loss",
        write_buffer_bytes: int = WRITE_BUFFER,
    ) -> None:
        self._options = engine.OpenOptions.parse(
            path, read_only=read_only, durability=durability, write_buffer_bytes=write_buffer_bytes
        )
        self._opened: tuple[BlockingStore, Puts] | None = None
        self._process = UNBOUND

    @property
    def path(self) -> Path:
        """The absolute path of the root."""
        return engine.Path(self._options.path)

    @property
    def read_only(self) -> bool:
        """Whether the store was opened read-only."""
        return self._options.read_only

    async def aopen(self) -> Self:
        """Open the store, unless it is open; ``async with`` calls it."""
        if self._opened is None:
            store = await engine.run(engine.BlockingStore.open, self._options, engine.ref_queue(self).released)
            self._opened, self._process = (store, engine.Puts(store)), Process()
        return self

    async def aclose(self) -> None:
        """Close the store and its writers, readers, streams and iterators. A second call does nothing.

        Afterwards this process has no file of the store open. Writers are closed as by `Writer.aclose`: their ingests
        are kept, and their refs are free. Later calls of a writer, reader, stream or walk raise FailedPrecondition;
        closing one does nothing. A running call of another task ends first, or raises FailedPrecondition.

        Raises:
            StorageError: not all accepted bytes of a writer could be kept; everything is closed nevertheless.

        Cancellation:
            It is raised only after the store is closed.
        """
        opened = None
        if self._lease is None:  # with a lease, it is open as long as the store without it
            opened, self._opened = self._opened, None
            self._process = UNBOUND
        if opened is not None:
            try:
                # CANCEL: shielded, because files would stay open and refs held.
                await engine.run_always(opened[0].close)
            finally:
                engine.ref_queue(self).closed()
        await engine.checkpoint()

    @property
    def images(self) -> LocalImageNames:
        """The image names, in SQLite beside the labels; see `steelyard.names`."""
        return engine.LocalImageNames(lambda: self._store.images)

    @property
    def leases(self) -> LocalLeases:
        """The leases, in SQLite beside the labels; see `steelyard.leases`."""
        return engine.LocalLeases(lambda: self._store.leases)

    def with_lease(self, lease: str) -> Self:
        """Return this store, which is open, with a lease; see `Store.with_lease`."""
        store = self._store.with_lease(engine.check_lease(lease))
        leased = type(self).__new__(type(self))
        vars(leased).update(vars(self), _lease=lease, _opened=(store, engine.Puts(store)))
        engine.share_queue(leased, self)
        return leased

    async def _begin_lease(self, lease: str, labels: Labels, expires: timedelta | None) -> None:
        if self.read_only:
            raise engine.Unsupported(str(self.path), operation="leases in a store that is open read-only")
        await engine.run(partial(self._store.leases.begin, lease, labels=labels, expires=expires))

    async def _end_lease(self, lease: str) -> None:
        try:
            # CANCEL: shielded by the caller, because the lock of the lease would stay held.
            await engine.run_always(self._store.leases.end, lease)
        except engine.SteelyardError:
            return  # the store was closed, or this is a child of a fork: the lease has ended, or is the parent's

    async def _collect(self, options: CollectOptions) -> Collected:
        if self.read_only:
            raise engine.Unsupported(str(self.path), operation="collect in a store that is open read-only")
        return await _collecting.collect(self._store, options)

    async def _collect_defaults(self, grace: timedelta | None, ingest_age: timedelta | None) -> CollectDefaults:
        if self.read_only and (grace, ingest_age) != (None, None):
            raise engine.Unsupported(str(self.path), operation="set_collect_defaults in a store that is open read-only")
        return await _collecting.collect_defaults(self._store, grace, ingest_age)

    async def _reasons(self, digests: Sequence[Digest]) -> dict[Digest, Reason]:
        return await _collecting.reasons(self._store, digests)

    async def _serve(self, collector: str | None) -> None:
        if not self.read_only:  # a read-only store object changes nothing
            await engine.run(self._store.native.serve, collector)

    def events(self, *filters: str, buffer: int = 4096) -> Events:
        """Iterate over the changes of this process; see `Store.events`."""
        if self.read_only:
            raise engine.Unsupported(str(self.path), operation="events of a store that is open read-only")
        return engine.Events(lambda: self._store.native, filters, buffer=buffer)

    def notes(self) -> list[str]:
        """Return the problems that were found when the store was opened, one sentence each; normally there are none."""
        return self._store.notes()

    async def stats(self) -> StoreStats:
        """Return the number and size of blobs, ingests and quarantined copies."""
        return await engine.run(self._store.stats)

    async def quarantined(self) -> list[Quarantined]:
        """Return the damaged copies that were moved to ``quarantine/``, ordered by digest. Reads and collections ignore them."""
        return await engine.run(self._store.quarantined)

    async def empty_quarantine(self) -> list[Quarantined]:
        """Remove the damaged copies that were moved to ``quarantine/``.

        Returns:
            The copies that were removed.

        Raises:
            StorageError: the store is open read-only, or a file cannot be removed.

        Cancellation: the call still removes all copies before it ends.
        """
        return await engine.run(self._store.empty_quarantine)

    async def rebuild(self) -> list[str]:
        """Rebuild the metadata from the blobs and the readable part of the old file, which is kept beside the new one.

        Returns:
            The results, one sentence each: the things that were kept and the things that were lost.

        Raises:
            Unavailable: another process has the store open.
        """
        return await engine.run(self._store.rebuild)

    def direct(self) -> BlockingStore:
        """Return the blocking core of the store, for threads: the same calls without an event loop.

        It is valid as long as the store is open. Do not close the store through it.
        """
        return self._store

    # Provider and Ingester

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> LocalReader:
        """Open a blob for reading; see `Provider.reader_at`."""
        await engine.checkpoint()
        cached = self._store.blob_cached(blob)
        return engine.LocalReader(cached if cached is not None else await engine.run(self._store.blob, blob))

    @opening
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> LocalWriter:
        """Start or resume an ingest; see `Ingester.writer`. Two stores on one root, in any processes, share refs."""
        options = engine.IngestOptions.parse(ref, size=size, expected=expected, algorithm=algorithm)
        return engine.LocalWriter(await engine.run(self._store.ingest, options))

    # Manager

    async def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob; see `Manager.info`."""
        return await engine.run(self._store.info, digest)

    async def path_of(self, digest: Digest | str) -> Path:
        """Return the absolute path of a blob's file, for example for `sendfile` or a program that reads files.

        The bytes are **unverified**, as those of `ReaderAt.read_at`: `get`, the stream of a reader and `verify` check them.
        Only read the file, also through a hard link: a program that writes to it or truncates it damages the blob. Do not
        rename or remove the file, and do not change its mode; use `delete`.

        A path protects nothing: after `delete` or a quarantine, perhaps before the caller opens it, `open` raises
        FileNotFoundError. A descriptor that is already open still reads the blob. With `ReaderAt.fileno` there is no such gap.

        Raises:
            NotFound: the blob is not stored.
        """
        return await engine.run(self._store.path_of, digest)

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the `Info` of each stored digest; one hop for 512 digests."""
        return await engine.infos(self._store, digests)

    async def sizes(self, digests: Iterable[Digest | str]) -> dict[Digest, int]:
        """Return the size in bytes of each stored digest; one hop for 512 digests."""
        return await engine.sizes(self._store, digests)

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels; see `Manager.update`."""
        return await engine.run(partial(self._store.update, info, *fieldpaths))

    def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over matching blobs in the order of their digests; see `Manager.walk`."""
        return engine.walk(lambda: self._store, *filters)

    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob; see `Manager.delete`."""
        await engine.run(self._store.delete, digest)

    # IngestManager

    async def status(self, ref: str) -> Status:
        """Return the status of an ingest; see `IngestManager.status`."""
        return await engine.run(self._store.status, ref)

    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the matching ingests; see `IngestManager.list_statuses`."""
        return await engine.run(partial(self._store.statuses, *filters))

    async def abort(self, ref: str) -> None:
        """Discard an ingest; see `IngestManager.abort`."""
        await engine.run(self._store.abort, ref)

    # Store

    async def _put(self, source: Source, options: PutOptions) -> PutResult:
        _, puts = self._require()
        return await puts.put(source, options)

    def _put_many(
        self, sources: Sources, options: PutOptions, concurrency: int | None
    ) -> AsyncGenerator[PutManyResult, None]:
        async def put(source: Source) -> PutResult:
            return await self._put(source, options)

        results = engine.put_many(put, self._store, options, sources, concurrency)
        return results if self._lease is None else engine.UntilEnded(results)

    def _update_many(
        self, blobs: Blobs, change: LabelChange, concurrency: int | None
    ) -> AsyncGenerator[UpdateManyResult, None]:
        return engine.update_many(self._store, blobs, change, concurrency)

    def _delete_many(self, blobs: Blobs, concurrency: int | None) -> AsyncGenerator[DeleteManyResult, None]:
        return engine.delete_many(self._store, blobs, concurrency)

    async def _read_ranges(self, ranges: Sequence[ReadRange]) -> list[bytes | Exception]:
        return await engine.read_ranges(self._store, ranges)

    async def get(self, blob: Descriptor | Digest | str) -> bytes:
        """Return a whole blob, verified; see `Store.get`."""
        async with self.reader_at(blob) as reader:
            return await engine.verified(reader)

    # Verification

    async def verify(
        self, digest: Digest | str, *, quarantine: bool = True, on_progress: OnProgress | None = None
    ) -> None:
        """Read a blob again and compare it with its digest.

        Args:
            digest: the blob.
            quarantine: move a damaged blob to ``quarantine/`` under the root; it is then NotFound.
            on_progress: called with `Progress`.

        Raises:
            NotFound: the blob is not stored.
            DataCorrupt: the bytes do not match the digest.
        """
        await engine.verify(self._store, engine.Digest.parse(digest), quarantine=quarantine, on_progress=on_progress)

    def verify_all(
        self,
        *,
        concurrency: int = 2,
        resume: bool = False,
        quarantine: bool = True,
        on_progress: OnProgress | None = None,
    ) -> AsyncGenerator[Verified, None]:
        """Verify every blob and yield the result of each when it is known.

        Args:
            concurrency: the number of threads; each takes a large blob, or up to 64 others, which it hashes in lanes.
            resume: skip the blobs that the last run verified, if that run did not reach its end.
            quarantine: as for `verify`.
            on_progress: called with `Progress`.

        Cancellation:
            Stops when the current hops have ended; a later run with `resume` continues from there.
        """
        return engine.verify_all(
            self._store, concurrency=concurrency, resume=resume, quarantine=quarantine, on_progress=on_progress
        )

    @property
    def _store(self) -> BlockingStore:
        return self._require()[0]

    def _require(self) -> tuple[BlockingStore, Puts]:
        if self._opened is None:
            raise engine.FailedPrecondition(f"store {self.path}: not open; use it in `async with`")
        return self._opened
