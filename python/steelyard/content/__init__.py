"""The interfaces of a content store. Read this page first.

A **blob** is immutable bytes, named by the digest of the bytes. An **ingest** is an unfinished, resumable write with a name
of the caller's choice, its **ref**. `Writer.commit` makes the ingest a blob. The interfaces follow containerd:

| Interface | Does |
| --- | --- |
| `Provider` | read blobs |
| `Ingester` | start or resume an ingest |
| `Manager` | list blobs, change their labels, delete them |
| `BatchManager` | look up many blobs, change the labels of many, delete many |
| `IngestManager` | list ingests, abort them |
| `ImageNames` of `steelyard.names` | list and change image names; `Store.images` returns it |
| `Collector` | remove blobs that no root needs, and report why a blob is kept |
| `Leases` of `steelyard.leases` | list and change leases, which protect from garbage collection; `Store.leases` returns it |
| `Store` | all of these, and convenience methods built on them |

Every method with a digest argument accepts a `Digest` or its text, and parses the text first. Every ``async def`` method
may wait, and always executes a checkpoint. A call that raises had no effect unless its docstring says otherwise. A call that returns an
`Opening` has two forms: ``async with store.writer(ref) as writer`` and ``writer = await store.writer(ref)``.
Sizes and offsets are in bytes; an unknown size is None. Times are aware `datetime` values in UTC.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from steelyard._lazy import Module as _Module
from steelyard._lazy import exports as _exports
from steelyard._runtime.opening import Opener
from steelyard.content._batch_manager import BatchManager
from steelyard.content._collector import Collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta
    from types import TracebackType

    from steelyard import options as _options
    from steelyard._runtime import concurrent as _concurrent
    from steelyard._runtime.opening import Opening, opening
    from steelyard.content import _many
    from steelyard.content._many import Errors
    from steelyard.content._reader import ReaderAt
    from steelyard.content._writer import Writer
    from steelyard.digest import Algorithm, Digest
    from steelyard.events import Events
    from steelyard.leases import Leases
    from steelyard.model import Descriptor, Info, Labels, OnProgress, PutManyResult, PutResult, Source, Sources, Status
    from steelyard.names import ImageNames
    from steelyard.options import PutOptions
else:
    _options, _concurrent = _Module("steelyard.options"), _Module("steelyard._runtime.concurrent")
    _many = _Module("steelyard.content._many")
    __getattr__, __dir__ = _exports(
        __name__,
        {
            "steelyard._runtime.opening": "Opening opening",
            "steelyard.content._reader": "ReaderAt",
            "steelyard.content._writer": "Writer",
            "steelyard.model": "OnProgress Source",
        },
    )

__all__ = (
    "BatchManager",
    "Collector",
    "IngestManager",
    "Ingester",
    "Manager",
    "OnProgress",
    "Opening",
    "Provider",
    "ReaderAt",
    "Source",
    "Store",
    "Writer",
    "opening",
)


class Provider(Opener, ABC):
    """Reads blobs. A subclass implements `reader_at` as an ``async def`` with the decorator `opening`."""

    @abstractmethod
    def reader_at(self, blob: Descriptor | Digest | str) -> Opening[ReaderAt]:
        """Open a blob for reading.

        Raises:
            NotFound: the blob is not stored.
            DataCorrupt: the size of the descriptor is not that of the stored blob.
        """


class Ingester(Opener, ABC):
    """Starts and resumes ingests. A subclass implements `writer` as an ``async def`` with the decorator `opening`."""

    @abstractmethod
    def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Opening[Writer]:
        """Start the ingest `ref`, or resume it at `Writer.offset`.

        Args:
            ref: any text except the empty one, at most 1 MiB in UTF-8; it is never used as a path.
            size: the announced size; `status` shows it as `total`. On a resume, it replaces an earlier one.
            expected: the announced digest; `status` shows it. On a resume, it replaces an earlier one.
            algorithm: the algorithm of `Writer.digest`; by default that of `expected`, or of the ingest, or SHA-256.
                A resume with another algorithm reads the ingest's bytes again.

        Raises:
            Unavailable: another writer holds the ref; `steelyard.transfer.open_writer` waits for it.
            AlreadyExists: `expected` is already stored with the right size; its bytes are not read. An ingest `ref` is dropped.
            InvalidArgument: the ref is empty or too long, or the size is negative.
        """


class Manager(ABC):
    """Lists blobs, changes their labels, deletes them."""

    @abstractmethod
    async def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob. Raises NotFound if it is not stored."""

    @abstractmethod
    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels and return its new `Info`. The change survives a power loss.

        Args:
            info: its `digest` selects the blob, and its `labels` are the new labels; other fields are ignored.
            fieldpaths: the parts to change. Without any, or with ``labels``: replace all labels. ``labels.<key>``: set only that
                key, or remove it if `info.labels` lacks it.

        Raises:
            NotFound: the blob is not stored.
            InvalidArgument: a field path names something that cannot change.
            InvalidLabel: a label is too long.

        Spec: containerd's content.Manager.Update. `updated_at` changes, `created_at` never does.
        """

    @abstractmethod
    def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over the blobs that match any of the filters (see `steelyard.filters`), or over all, ordered by digest.

        Memory does not grow with the store. A blob that is added or deleted during the walk may be yielded or not; all
        others are yielded exactly once.

        Raises:
            InvalidFilter: at the start of the iteration.
            DataCorrupt: a filter needs labels, and the store cannot read them.
        """

    @abstractmethod
    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob and its labels, durably; open readers can still read. Raises NotFound if it is not stored."""


class IngestManager(ABC):
    """Lists ingests and aborts them."""

    @abstractmethod
    async def status(self, ref: str) -> Status:
        """Return the status of an ingest. Raises NotFound if there is no ingest with that ref."""

    @abstractmethod
    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the statuses of all ingests that match any of the filters, ordered by ref. Raises InvalidFilter."""

    @abstractmethod
    async def abort(self, ref: str) -> None:
        """Discard an ingest and its bytes.

        Raises:
            NotFound: there is no ingest with that ref.
            Unavailable: a writer in another process holds the ref. A writer of this store raises Aborted at its next call.
        """


class Store(Provider, Ingester, Manager, BatchManager, IngestManager, Collector):
    """All interfaces together, and convenience methods.

    To write your own store, inherit `steelyard.base.BaseStore`, which builds the convenience methods on the interfaces, and run
    `steelyard.testing` on it.
    """

    # The hooks of `put` and `put_many`, called with parsed arguments; `BaseStore` has them for every store.
    _put: Callable[[Source, PutOptions], Awaitable[PutResult]]
    _put_many: Callable[[Sources, PutOptions, int | None], AsyncGenerator[PutManyResult, None]]

    _lease: str | None = None

    # The hooks of `lease`. The first creates a lease with that ID which ends with this process; the second ends it and raises nothing.
    _begin_lease: Callable[[str, Labels, timedelta | None], Awaitable[None]]
    _end_lease: Callable[[str], Awaitable[None]]

    @abstractmethod
    async def aopen(self) -> Self:
        """Open the store and return it; ``async with`` calls it. For an open store it does nothing."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the store; ``async with`` calls it at its end. A second call does nothing."""

    async def __aenter__(self) -> Self:
        return await self.aopen()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    @abstractmethod
    def images(self) -> ImageNames:
        """The store's image names."""

    @property
    @abstractmethod
    def leases(self) -> Leases:
        """The store's leases. Raises Unsupported if the store has none."""

    @property
    def lease_id(self) -> str | None:
        """The ID of the lease that protects what is stored through this store, or None."""
        return self._lease

    @abstractmethod
    def with_lease(self, lease: str) -> Self:
        """Return this store with a lease that protects what is stored through it; `Leases.create` creates one.

        Each blob that a call stores, or finds already stored, is entered into the lease before the call returns, and so is the ref of
        each ingest that is started or resumed. Reading enters nothing: `Leases.add` does. The result is open as long as this store is, and
        closing it does nothing. Its refs are those of this store.

        Args:
            lease: the ID. If the lease has ended, each call that would store something raises `LeaseEnded`.

        Raises:
            InvalidArgument: the ID is invalid.
            Unsupported: the store has no leases.
        """

    @abstractmethod
    def lease(
        self, *, labels: Mapping[str, str] | None = None, expires: timedelta | None = None
    ) -> AbstractAsyncContextManager[Self]:
        """Create a lease, yield this store with it, and end the lease; see `with_lease`.

        ```python
        async with store.lease() as leased:
            result = await leased.put(data)
            await leased.images.create(name, Descriptor(digest=result.digest))  # from here on the name refers to it
        ```

        The lease ends with the context, with the store, and with the process, even if the process is killed.

        Args:
            labels: the labels of the lease.
            expires: a time after which the lease ends even if the context is still open. None: no limit. A store that cannot know whether
                this process is alive has a limit: a `RemoteStore` uses a day.

        Raises:
            Unsupported: the store has no leases, or was opened read-only.
            InvalidArgument: `expires` is not positive, or is too long.
            InvalidLabel: a label is too long.
            LeaseEnded: raised by the first call that would store something after the lease was deleted or has expired. Leaving
                the context does not raise it again.
        """

    @abstractmethod
    def events(self, *filters: str, buffer: int = 4096) -> Events:
        """Iterate over the changes that this process makes: blobs, image names and leases; see `steelyard.events`.

        ```python
        async with store.events("type==created", "type==deleted") as events:  # from here on
            async for event in events:
                print(event.type, event.digest)
        ```

        An event comes after its change is durable. The events of one blob come in the order of its changes. Changes of other processes have
        no events. All stores of one root in one process have the same events.

        Args:
            filters: events that match none of them are left out.
            buffer: the most events that wait for the subscriber. Where there is no room, events are dropped, and an event of
                type ``missed`` has their number. A subscriber never delays a change.

        Raises:
            Unsupported: the store has no events, or was opened read-only.
            InvalidArgument: `buffer` is less than 1 or more than 2**32 - 1.
            InvalidFilter: at the start of the subscription.
        """

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
            expected: the digest that the source must have. If that blob is already stored, `source` is not read.
            algorithm: the algorithm of the blob's digest; by default that of `expected`, or SHA-256.
            labels: labels for a new blob; an existing blob keeps its labels.
            ref: makes the put resumable: after a failure, another put of the same source with the same ref resumes
                it. Without a ref, a failed put leaves nothing.
            verify: read the whole ingest of `ref` again before it is published. If it is damaged, a source that can be read
                only once raises DataCorrupt; any other source is stored from its start.
            on_progress: called with `Progress`.

        Raises:
            UnexpectedSize, UnexpectedDigest: the source has another size or digest.
            Unavailable: another writer holds `ref`.
            Unsupported: the store cannot `verify`.
            StorageError, and any error of the source.

        Cancellation:
            Nothing becomes visible. With a `ref` the bytes stored so far are kept.
        """
        options = _options.PutOptions.parse(
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
        errors: Errors = "raise",
    ) -> AsyncGenerator[PutManyResult, None]:
        """Store many sources at once and yield each result as it finishes.

        `sources` is read only as fast as results are taken, so memory is bounded by `concurrency`, the most sources that are
        stored at a time (None: the store's default). A failed source does not stop the others. Close the iterator
        (`contextlib.aclosing`) to stop early. `algorithm`, `labels` and `on_progress` are those of `put`, for each source.

        Args:
            sources: the sources. If the iterable itself raises, the sources in work finish, then its error is raised.
            errors: ``"raise"`` yields only successes, and raises the errors of failed sources at the end. A consumer that stops
                before the end does not see them. ``"yield"`` yields a result for each failed source, too; see
                `PutManyResult.error`.

        Raises:
            ExceptionGroup: sources failed. The message has their number; the group has the first 100 errors, each with a
                note of its source, and the error of the iterable if that failed, too.
            InvalidArgument: `concurrency` is less than 1, or `errors` has another value.
            InvalidLabel: at once, not for each source.
            LeaseEnded: the lease of this store has ended; it is raised once, and the remaining sources are not stored.
        """
        _concurrent.check_concurrency(concurrency)
        options = _options.PutOptions.parse(algorithm=algorithm, labels=labels, on_progress=on_progress)
        return _many.of_sources(self._put_many(sources, options, concurrency), errors)

    @abstractmethod
    async def get(self, blob: Descriptor | Digest | str) -> bytes:
        """Return a whole blob, verified.

        Raises:
            NotFound: the blob is not stored.
            DataCorrupt: the stored bytes do not match the digest, and are never returned; or the size of the descriptor is not that of
                the stored blob, which is not read then.
        """

    @abstractmethod
    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the blob is stored."""
