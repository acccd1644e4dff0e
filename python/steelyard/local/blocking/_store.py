"""An open local store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from steelyard import _native, filters
from steelyard._lazy import Module
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Algorithm, Digest
from steelyard.errors import DataCorrupt, InvalidArgument, Unsupported
from steelyard.local._defaults import WRITE_BUFFER, Durability
from steelyard.local.blocking._blob import BlockingBlob
from steelyard.local.blocking._ingest import BlockingIngest
from steelyard.local.blocking._names import BlockingNames
from steelyard.local.blocking._rows import to_info, to_infos, to_status, to_time
from steelyard.model import Descriptor, Info, Labels, Status
from steelyard.options import IngestOptions, check_ref, label_keys

if TYPE_CHECKING:
    from steelyard import events as _events
    from steelyard.events import BlockingEvents
    from steelyard.local.blocking import _leases
    from steelyard.local.blocking._leases import BlockingLeases
else:
    _events = Module("steelyard.events")
    _leases = Module("steelyard.local.blocking._leases")

__all__ = ("BlobPages", "BlockingStore", "OpenOptions", "Quarantined", "StoreStats")


class OpenOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options for opening a store; see `LocalStore`.

    Attributes:
        path: the absolute path of the root.
        read_only: whether the store is opened read-only.
        durable: whether an acknowledged change survives a power loss.
        write_buffer_bytes: the most bytes that all writers together hold in memory before the bytes are written.
    """

    path: str
    read_only: bool
    durable: bool
    write_buffer_bytes: int

    @classmethod
    def parse(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        durability: Durability = "power-loss",
        write_buffer_bytes: int = WRITE_BUFFER,
    ) -> Self:
        """Check and convert the arguments of `LocalStore`.

        Raises:
            InvalidArgument: an unknown durability, a negative size.
        """
        if durability not in ("power-loss", "process-crash"):
            raise InvalidArgument(f"durability {durability!r}: expected 'power-loss' or 'process-crash'")
        if write_buffer_bytes < 0:
            raise InvalidArgument(f"write_buffer_bytes {write_buffer_bytes}: expected a number of bytes")
        durable = durability == "power-loss"
        return cls(
            path=str(Path(path).absolute()), read_only=read_only, durable=durable, write_buffer_bytes=write_buffer_bytes
        )


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a store at one moment.

    Attributes:
        blobs: blobs stored.
        blob_bytes: bytes of all blobs.
        ingests: unfinished ingests.
        ingest_bytes: bytes of all ingests.
        quarantined: damaged copies that were moved aside.
        quarantined_bytes: bytes of these copies.
    """

    blobs: int
    blob_bytes: int
    ingests: int
    ingest_bytes: int
    quarantined: int
    quarantined_bytes: int


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A damaged copy of a blob, which `verify` or a put of the right bytes moved aside.

    Attributes:
        digest: the blob.
        path: the file with the damaged bytes.
        size: its length in bytes.
        moved_at: when it was moved aside (UTC).
    """

    digest: Digest
    path: Path
    size: int
    moved_at: datetime


def _ignore(ref: str) -> None:
    """Do nothing: no task waits for a ref."""


class BlockingStore(ProcessBound):
    """An open store. Its calls are those of `Store`, with the same meanings and errors, but they block.

    ```python
    with BlockingStore.open(OpenOptions.parse("/srv/blobs", read_only=True)) as store:
        for infos in store.pages("size>1048576"):
            ...
    ```

    Attributes:
        native: the core's handle.
        lease: the ID of the lease that protects what is stored, or None.

    Args:
        native: the core's handle.
        released: called with every ref that becomes free, to wake the tasks that wait for it; from any thread.
        lease: the ID of the lease that protects what is stored, or None.
    """

    def __init__(
        self, native: _native.Store, released: Callable[[str], object] = _ignore, *, lease: str | None = None
    ) -> None:
        self.native = native
        self.lease = lease
        self.released = released

    @classmethod
    def open(cls, options: OpenOptions, released: Callable[[str], object] = _ignore) -> Self:
        """Open a store; see `LocalStore` for the errors."""
        native = _native.Store.open(
            options.path,
            read_only=options.read_only,
            durable=options.durable,
            write_buffer=options.write_buffer_bytes,
        )
        return cls(native, released)

    def close(self) -> None:
        """Close the store and everything that was opened from it; see `LocalStore.aclose`. May be called twice."""
        self.native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        """Whether the store was opened read-only."""
        return self.native.read_only

    @property
    def images(self) -> BlockingNames:
        """The image names."""
        return BlockingNames(self.native.images())

    @property
    def leases(self) -> BlockingLeases:
        """The leases."""
        return _leases.BlockingLeases(self.native.leases())

    def with_lease(self, lease: str) -> BlockingStore:
        """Return this store with a lease; see `Store.with_lease`. Closing either closes both."""
        return BlockingStore(self.native, self.released, lease=lease)

    def protect(self, digests: Iterable[Digest | str]) -> None:
        """Protect blobs, before a look for them, from garbage collection: by the lease of this store, or else for the grace time.

        Raises:
            LeaseEnded: the lease has ended.
        """
        self.native.protect([str(Digest.parse(digest)) for digest in digests], lease=self.lease)

    def events(self, *filters_: str, buffer: int = 4096) -> BlockingEvents:
        """Subscribe to the changes of this process; see `Store.events`."""
        if self.read_only:
            raise Unsupported(self.native.path, operation="events of a store that is open read-only")
        return _events.BlockingEvents(self.native.subscribe(filters.compile(*filters_).native, buffer))

    def notes(self) -> list[str]:
        """Return the problems that were found when the store was opened; see `LocalStore.notes`."""
        return self.native.notes()

    def stats(self) -> StoreStats:
        """Return the number and size of blobs, ingests and quarantined copies."""
        return StoreStats(**self.native.stats())

    def quarantined(self) -> list[Quarantined]:
        """Return the damaged copies that were moved aside; see `LocalStore.quarantined`."""
        return [_quarantined(*row) for row in self.native.quarantined(False)]

    def empty_quarantine(self) -> list[Quarantined]:
        """Remove the damaged copies that were moved aside; see `LocalStore.empty_quarantine`."""
        return [_quarantined(*row) for row in self.native.quarantined(True)]

    def rebuild(self) -> list[str]:
        """Rebuild the metadata; see `LocalStore.rebuild`."""
        return self.native.rebuild()

    # Blobs

    def blob(self, blob: Descriptor | Digest | str) -> BlockingBlob:
        """Open a blob for reading; see `Provider.reader_at`."""
        given = Descriptor.of(blob)
        return _opened(given, self.native.blob(str(given.digest)))

    def inspect(self, blob: Descriptor | Digest | str) -> BlockingBlob:
        """Open a blob to check it. This does not count as a use of the blob."""
        given = Descriptor.of(blob)
        return _opened(given, self.native.inspect(str(given.digest)))

    def blob_cached(self, blob: Descriptor | Digest | str) -> BlockingBlob | None:
        """Open a blob for reading if the kernel can do so from memory, without a wait for the disk."""
        given = Descriptor.of(blob)
        native = self.native.blob_cached(str(given.digest))
        return None if native is None else _opened(given, native)

    def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob."""
        return to_info(self.native.info(str(Digest.parse(digest))))

    def path_of(self, digest: Digest | str) -> Path:
        """Return the path of a blob's file; see `LocalStore.path_of`."""
        return Path(self.native.path_of(str(Digest.parse(digest))))

    def write_copies(
        self, folders: Sequence[tuple[int, Sequence[tuple[Digest, int, str, int, int | None]]]]
    ) -> list[bool | Exception]:
        """Write verified copies of small blobs into directories, each with the given permissions and modification time.

        Nothing is synced. A copy gets its name when it is complete.

        Args:
            folders: the descriptor of each directory, and its files: blob, size, name, permissions, and modification time in
                nanoseconds since 1970, or None for now. A blob of another size is not read.

        Returns:
            For each file its error, or whether it was written. False: the name is taken, or the file system has no unnamed files.
        """
        files = [
            (str(digest), size, place, name, mode, time)
            for place, (_, copies) in enumerate(folders)
            for digest, size, name, mode, time in copies
        ]
        return self.native.write_copies([folder for folder, _ in folders], files)

    def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the info of each stored digest."""
        rows = self.native.infos([str(Digest.parse(digest)) for digest in digests])
        return {info.digest: info for info in map(to_info, rows)}

    def sizes(self, digests: Iterable[Digest | str]) -> dict[Digest, int]:
        """Return the size of each stored digest."""
        names = [Digest.parse(digest) for digest in digests]
        found = self.native.sizes([str(name) for name in names])
        return {name: size for name, size in zip(names, found, strict=True) if size is not None}

    def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels; see `Manager.update`."""
        (outcome,) = self.update_many([info.digest], Labels(info.labels), label_keys(fieldpaths))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def update_many(
        self, digests: Iterable[Digest | str], labels: Labels, keys: Sequence[str] | None
    ) -> Sequence[Info | Exception]:
        """Set labels of many blobs in one transaction, and return the new info of each, or its error.

        Args:
            digests: the blobs.
            labels: the new labels.
            keys: the keys of the labels to change; a key that `labels` lacks is removed. None: all labels are replaced.

        Raises:
            StorageError, DataCorrupt: no label was changed.
        """
        texts = [str(Digest.parse(digest)) for digest in digests]
        page, failures = self.native.update(texts, dict(labels), keys)
        infos = to_infos(page) if page else []
        if not failures:
            return infos
        failed, rest = dict(failures), iter(infos)
        return [failed[place] if place in failed else next(rest) for place in range(len(texts))]

    def pages(self, *filters_: str, unverified_before: int | None = None) -> BlobPages:
        """Iterate over the matching blobs in the order of their digests, one list of blobs at a time.

        Args:
            filters_: see `Manager.walk`.
            unverified_before: leave out the blobs that were verified since this time (nanoseconds since the epoch).
        """
        filter_ = filters.compile(*filters_).native
        return BlobPages(self.native.walk(filter_, unverified_before=unverified_before))

    def delete(self, digest: Digest | str) -> None:
        """Delete a blob; see `Manager.delete`."""
        (error,) = self.delete_many([digest])
        if error is not None:
            raise error

    def delete_many(self, digests: Iterable[Digest | str]) -> Sequence[Exception | None]:
        """Delete many blobs with one sync, and return the error of each, or None.

        Raises:
            StorageError: some of the blobs may be gone.
        """
        texts = [str(Digest.parse(digest)) for digest in digests]
        failed = dict(self.native.delete(texts, lease=self.lease))
        return [failed.get(place) for place in range(len(texts))]

    # Ingests

    def ingest(self, options: IngestOptions) -> BlockingIngest:
        """Begin or resume an ingest; see `Ingester.writer`."""
        native = self.native.ingest(
            options.ref,
            total=options.size,
            expected=None if options.expected is None else str(options.expected),
            algorithm=None if options.algorithm is None else options.algorithm.value,
            lease=self.lease,
        )
        return BlockingIngest(native, self.released)

    def anonymous(self, algorithm: Algorithm) -> BlockingIngest:
        """Begin an ingest without a ref; nothing of it remains if it is closed without a commit."""
        return BlockingIngest(self.native.anonymous(algorithm=algorithm.value, lease=self.lease), _ignore)

    def status(self, ref: str) -> Status:
        """Return the status of an ingest."""
        return to_status(self.native.status(check_ref(ref)))

    def statuses(self, *filters_: str) -> list[Status]:
        """Return the statuses of the matching ingests, ordered by ref."""
        return [to_status(row) for row in self.native.statuses(filters.compile(*filters_).native)]

    def abort(self, ref: str) -> None:
        """Discard an ingest; see `IngestManager.abort`."""
        self.native.abort(check_ref(ref), lease=self.lease)
        self.released(ref)


class BlobPages(Iterator[list[Info]]):
    """The pages of a listing. The core prepares the next page while the caller uses the current one."""

    def __init__(self, native: _native.Walk) -> None:
        self._native = native

    def __next__(self) -> list[Info]:
        if infos := self.next():
            return infos
        raise StopIteration

    def next(self) -> list[Info]:
        """Return the next page. Only the page after the last one is empty."""
        page = self._native.next()
        return to_infos(page) if page else []

    def ready(self) -> list[Info] | None:
        """Return the next page, or None if it is not prepared yet. The page after the last one is empty. It does not block."""
        page = self._native.ready()
        if page is None:
            return None
        return to_infos(page) if page else []


def _quarantined(digest: str, path: str, size: int, moved_ns: int) -> Quarantined:
    return Quarantined(digest=Digest.parse(digest), path=Path(path), size=size, moved_at=to_time(moved_ns))


def _opened(given: Descriptor, native: _native.Blob) -> BlockingBlob:
    try:
        given.check_size(native.size)
    except DataCorrupt:
        native.close()
        raise
    return BlockingBlob(given.digest, native)
