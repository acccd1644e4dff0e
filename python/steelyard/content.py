"""The interfaces of a content store: the page to read first.

A **blob** is immutable bytes named by the digest of their content. It enters through an **ingest**: a resumable write
under a caller's **ref**, which becomes a blob by `Writer.commit`. The interfaces are containerd's, in Python's manners:

| Interface | Says |
| --- | --- |
| `Provider` | read blobs |
| `Ingester` | begin or resume an ingest |
| `Manager` | look at blobs, change their labels, delete them |
| `IngestManager` | look at ingests, abort them |
| `Store` | all four, and what a person expects on them; `steelyard.names` for images |

Every method that takes a digest accepts a `Digest` or its text and parses it at the door. ``async def`` means that the
call may wait; it always checkpoints. A call that raises had no effect unless its docstring says what it left behind.
Sizes and offsets are in bytes; a size that is not known is None. Times are UTC.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping

from anyio.abc import AsyncResource, ByteReceiveStream, ByteSendStream

from steelyard._runtime.concurrent import check_concurrency
from steelyard.digest import Algorithm, Digest
from steelyard.model import Buffer, Descriptor, Info, OnProgress, PutManyResult, PutResult, Source, Sources, Status
from steelyard.names import ImageNames
from steelyard.options import PutOptions

__all__ = ("IngestManager", "Ingester", "Manager", "OnProgress", "Provider", "ReaderAt", "Source", "Store", "Writer")


class ReaderAt(AsyncResource):
    """Random reads of one blob, and a verified stream of it. An async context manager; `aclose` releases it.

    The blob stays readable through an open reader even when it is deleted meanwhile.
    """

    @property
    @abstractmethod
    def digest(self) -> Digest:
        """The blob's name."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The blob's length in bytes."""

    @abstractmethod
    async def read_at(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset`, **unverified**: the digest of a whole blob says nothing of a part.

        Returns:
            Exactly `size` bytes, or fewer where the blob ends.

        Raises:
            OutOfRange: `offset` is past the end.
            InvalidArgument: a negative number.
            DataCorrupt: the stored blob ends before its size.
        """

    @abstractmethod
    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Read a range into the caller's memory, **unverified**; return the bytes read.

        `buffer` is writable, one-dimensional and contiguous, with items of one byte; leave it alone until the call
        returns. Raises the same as `read_at`.
        """

    @abstractmethod
    def stream(self) -> ByteReceiveStream:
        """Return a stream of the whole blob that ends in `anyio.EndOfStream` only when the bytes match the digest.

        Bytes received before that are provisional: only the end of the stream proves them. A blob that is damaged, too
        short or too long raises DataCorrupt in place of the end. Closing the stream does not close the reader.
        """

    def fileno(self) -> int:
        """Return the descriptor of the blob's file, for `sendfile` for example; it closes with the reader.

        Raises:
            io.UnsupportedOperation: the store has no file for it.
        """
        raise io.UnsupportedOperation("fileno")

    @abstractmethod
    async def aclose(self) -> None:
        """Release the reader; it may be called twice."""


class Writer(ByteSendStream):
    """An open ingest: append, then `commit`. An anyio byte stream and an async context manager.

    Leaving it without `commit` **keeps** the ingest: its bytes are made durable and the next writer of the same ref goes
    on from there. After `commit` or `aclose` every call but `aclose` raises WriterClosed; after `IngestManager.abort` of
    its ref, or if another process took it, Aborted. After a failed write or sync the ingest is never committed by this
    writer: it raises StorageError until closed, and the next writer resumes from the last durable offset.

    One task at a time may use a writer.
    """

    @property
    @abstractmethod
    def ref(self) -> str:
        """The caller's name of the ingest."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """Bytes accepted so far, those of earlier writers included: where the source has to be continued."""

    @abstractmethod
    async def write(self, data: Buffer) -> None:
        """Append all of `data`.

        On return they count in `offset`, but are durable only after `sync`, `aclose` or `commit`. A disk's refusal may
        show on a later call.

        Args:
            data: one-dimensional and contiguous, with items of one byte; may be empty. A mutable buffer is copied or
                written before the call returns; a `bytes` object may be kept by reference until it is written.

        Raises:
            WriterClosed, Aborted, StorageError.

        Cancellation:
            Data of up to 8 MiB is accepted whole or not at all, of longer data perhaps a prefix; `offset` says how much.
        """

    async def send(self, item: Buffer) -> None:
        """Append all of `item`; the name that anyio's streams give to `write`."""
        await self.write(item)

    @abstractmethod
    async def digest(self) -> Digest:
        """Return the digest of the bytes accepted so far; of the empty string before the first."""

    @abstractmethod
    async def status(self) -> Status:
        """Return what `IngestManager.status` says of this ingest."""

    @abstractmethod
    async def truncate(self, size: int) -> None:
        """Cut the ingest to its first `size` bytes; writing goes on from there.

        Raises OutOfRange if the ingest is shorter than `size`, and InvalidArgument if `size` is negative.
        """

    @abstractmethod
    async def sync(self) -> None:
        """Make all bytes accepted so far survive a power loss, and a resume start after them."""

    @abstractmethod
    async def commit(
        self,
        size: int | None = None,
        expected: Digest | str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        verify: bool = False,
    ) -> Info:
        """Publish the ingest under its digest, and close the writer whatever happens.

        On return the blob, its name and its labels survive a power loss; the ref is free. Nobody ever sees the blob
        incomplete, writable or without its labels.

        Args:
            size: the size that the ingest must have.
            expected: the digest that it must have; of another algorithm, the bytes are read again to compute it.
            labels: the blob's labels.
            verify: read all bytes again, and compare, before they are published; those before a checkpoint are else trusted.

        Raises:
            DataCorrupt: `verify` found other bytes; the ingest stays as it is until `abort`. Unsupported: it cannot verify.
            UnexpectedSize, UnexpectedDigest: it has not; **the ingest keeps its bytes** for another try.
            AlreadyExists: the blob is stored already; the ingest is gone. A damaged copy was replaced by these bytes.
            InvalidLabel: nothing was changed, but the writer is closed; the ingest keeps its bytes.
            WriterClosed, Aborted, FailedPrecondition, StorageError.

        Cancellation:
            The publication is never left half-way: it is waited for, and a cancelled caller may find the blob stored.
            Otherwise the ingest keeps its bytes.

        Spec: containerd's content.Writer.Commit.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Make the bytes accepted so far durable, keep the ingest for a resume, and free the ref; may be called twice."""


class Provider(ABC):
    """Reads blobs."""

    @abstractmethod
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob for reading.

        Raises:
            NotFound: it is not stored.
            DataCorrupt: a descriptor gives another size than the stored blob has.
        """


class Ingester(ABC):
    """Begins and resumes ingests."""

    @abstractmethod
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Writer:
        """Begin the ingest `ref`, or resume it where it was left: look at `Writer.offset`.

        Args:
            ref: any text but the empty one, at most 1 MiB in UTF-8; it is never used as a path.
            size: the size there will be; shown by `status` as `total`. On a resume it replaces an earlier one when given.
            expected: the digest there will be; shown by `status`. On a resume it replaces an earlier one when given.
            algorithm: what `Writer.digest` computes; by default that of `expected`, or of the ingest, or SHA-256.
                Resuming with another algorithm reads the ingest's bytes again.

        Raises:
            Unavailable: another writer holds the ref; see `steelyard.transfer.open_writer` to wait for it.
            AlreadyExists: `expected` is stored already, whole as far as its size tells.
            InvalidArgument: an empty or too long ref, a negative size.
        """


class Manager(ABC):
    """Looks at blobs, changes their labels, deletes them."""

    @abstractmethod
    async def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob. Raises NotFound if it is not stored."""

    @abstractmethod
    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels and return what is then known of it; the change survives a power loss.

        Args:
            info: names the blob by its `digest` and gives the labels; its other fields are ignored.
            fieldpaths: what to change. None: replace all labels. ``labels``: likewise. ``labels.<key>``: only that key,
                which is removed when `info.labels` lacks it.

        Raises:
            NotFound: the blob is not stored.
            InvalidArgument: a field path names something that cannot change.
            InvalidLabel: a label is too long.

        Spec: containerd's content.Manager.Update. `updated_at` moves, `created_at` never does.
        """

    @abstractmethod
    def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over the blobs that match any of the filters (see `steelyard.filters`), or over all, ordered by digest.

        Memory does not grow with the store. Blobs that come or go during the walk may be seen or not; all others are
        seen exactly once.

        Raises:
            InvalidFilter: when the iteration begins.
            DataCorrupt: a filter asks for labels, and the store cannot read them.
        """

    @abstractmethod
    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob and its labels, durably; open readers go on reading. Raises NotFound if it is not stored."""


class IngestManager(ABC):
    """Looks at ingests and aborts them."""

    @abstractmethod
    async def status(self, ref: str) -> Status:
        """Return the status of an ingest. Raises NotFound if there is none of that ref."""

    @abstractmethod
    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the statuses of all ingests that match any of the filters, ordered by ref. Raises InvalidFilter."""

    @abstractmethod
    async def abort(self, ref: str) -> None:
        """Discard an ingest and its bytes.

        Raises:
            NotFound: there is none of that ref.
            Unavailable: a writer in another process holds it. One of this store is fenced: its next call raises Aborted.
        """


class Store(Provider, Ingester, Manager, IngestManager):
    """All interfaces together, and what a person expects of a store.

    To write your own, inherit `steelyard.base.BaseStore`, which builds these methods on the four interfaces, and run
    `steelyard.testing` on it.
    """

    # The hooks of `put` and `put_many`, called with parsed arguments; `BaseStore` has them for every store.
    _put: Callable[[Source, PutOptions], Awaitable[PutResult]]
    _put_many: Callable[[Sources, PutOptions, int | None], AsyncGenerator[PutManyResult, None]]

    @property
    @abstractmethod
    def images(self) -> ImageNames:
        """The store's image names."""

    async def put(
        self,
        source: Source,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
        labels: Mapping[str, str] | None = None,
        ref: str | None = None,
        verify: bool = False,
        on_progress: OnProgress | None = None,
    ) -> PutResult:
        """Store a source durably, and return its digest, its size and whether it was new.

        Args:
            source: see `Source`.
            size: the size that the source must have.
            expected: the digest that the source must have; when that blob is stored already, `source` is not read.
            algorithm: the algorithm of the blob's digest; by default that of `expected`, or SHA-256.
            labels: labels for the blob if it is new; those of a blob that is stored already stay as they are.
            ref: makes the put resumable: after a failure, another put of the same source with the same ref goes on
                where it stopped. Without one, nothing remains of a failed put.
            verify: read all that the ingest of `ref` holds again before it is published. Damage raises DataCorrupt if
                the source can be read only once; any other source is then stored from its start.
            on_progress: called with `Progress`.

        Raises:
            UnexpectedSize, UnexpectedDigest: the source has another size or digest.
            Unavailable: another writer holds `ref`.
            Unsupported: the store cannot `verify`.
            StorageError, and whatever the source raises.

        Cancellation:
            Nothing becomes visible. With a `ref` the bytes stored so far are kept.
        """
        options = PutOptions.parse(
            size=size,
            expected=expected,
            algorithm=algorithm,
            labels=labels,
            ref=ref,
            verify=verify,
            on_progress=on_progress,
        )
        return await self._put(source, options)

    def put_many(
        self,
        sources: Sources,
        *,
        concurrency: int | None = None,
        algorithm: Algorithm | None = None,
        labels: Mapping[str, str] | None = None,
        on_progress: OnProgress | None = None,
    ) -> AsyncGenerator[PutManyResult, None]:
        """Store many sources at once and yield each result as it finishes.

        `sources` is read only as fast as results are taken, so `concurrency`, the most sources in work at a time (None:
        the store's choice), bounds the memory. A source that fails yields its error and does not stop the others. Close
        the iterator (`contextlib.aclosing`) to stop early. The other arguments are those of `put`, for each source.

        Raises:
            InvalidArgument: `concurrency` is less than 1.
            InvalidLabel: at once, not for each source.
        """
        check_concurrency(concurrency)
        options = PutOptions.parse(algorithm=algorithm, labels=labels, on_progress=on_progress)
        return self._put_many(sources, options, concurrency)

    @abstractmethod
    async def get(self, digest: Digest | str) -> bytes:
        """Return a whole blob, verified.

        Raises:
            NotFound: it is not stored.
            DataCorrupt: the stored bytes do not match; they are never returned.
        """

    @abstractmethod
    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the blob is stored."""

    @abstractmethod
    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return what is known of each of the digests that is stored; thousands in one call are fine."""
