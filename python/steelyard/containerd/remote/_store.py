"""`RemoteStore` itself."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

from anyio.lowlevel import checkpoint

from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.opening import opening
from steelyard._runtime.refqueue import share_queue
from steelyard.base import BaseStore
from steelyard.collection import CollectDefaults, Collected, CollectOptions, Reason
from steelyard.containerd._address import parse_address
from steelyard.containerd._namespaces import check_namespace
from steelyard.containerd.remote._calls import Limits
from steelyard.containerd.remote._channel import Channel, Connection
from steelyard.containerd.remote._content import Content
from steelyard.containerd.remote._errors import About, Refused, error_of
from steelyard.containerd.remote._leases import RemoteLeases, check_header, check_id
from steelyard.containerd.remote._names import RemoteImageNames
from steelyard.containerd.remote._put import AT_ONCE, put_small
from steelyard.containerd.remote._reader import RemoteReader, read_whole
from steelyard.containerd.remote._stream import WriteStream
from steelyard.containerd.remote._writer import RemoteWriter
from steelyard.content._put_many import UntilEnded
from steelyard.digest import Algorithm, Digest
from steelyard.errors import (
    AlreadyExists,
    NotFound,
    SteelyardError,
    Unavailable,
    Unsupported,
)
from steelyard.filters import status_fields
from steelyard.filters._async import choose, compiled
from steelyard.model import Descriptor, Info, Labels, PutManyResult, PutResult, Source, Sources, Status
from steelyard.options import IngestOptions, PutOptions, check_ref
from steelyard.transfer._lease import leased as managed_lease
from steelyard.transfer._small import small

__all__ = ("RemoteStore",)

_DAY = timedelta(days=1)
_PUTS_AT_ONCE = 16


class _Held:
    """A ref that this store is using, with the time since when, and with its writer as soon as that is open."""

    def __init__(self, since: datetime) -> None:
        self.since = since
        self.writer: RemoteWriter | None = None


class RemoteStore(ProcessBound, BaseStore):
    """The content store of a containerd, or of a Steelyard behind containerd's service.

    ```python
    async with RemoteStore("/run/containerd/containerd.sock", namespace="k8s.io") as store:
        async for info in store.walk():
            print(info.digest, info.size)
    ```

    It connects at the first call, and again after a restart of the server. The server determines the durability.

    Args:
        address: the path of the server's Unix socket, or ``unix://`` and the path.
        namespace: the namespace of the content; None sends no namespace, for servers without namespaces.
        lease: the ID of a lease that protects stored blobs from containerd's garbage collection; see `with_lease`.
        timeout: the most seconds of a call with one answer.
        idle_timeout: the most seconds of a longer call without progress.
        message_bytes: the bytes that a writer collects for a message, at most 8 MiB. A containerd is faster with 1 MiB, Steelyard's own
            service with 4 MiB.
        window_bytes: the most bytes of a writer in flight.

    Raises:
        InvalidArgument: the address, the namespace, the lease, a time or a size is invalid.
    """

    def __init__(
        self,
        address: str | os.PathLike[str],
        *,
        namespace: str | None = "default",
        lease: str | None = None,
        timeout: float = 60.0,
        idle_timeout: float = 60.0,
        message_bytes: int = 1 << 20,
        window_bytes: int = 32 << 20,
    ) -> None:
        channel = Channel(parse_address(address))
        self._limits = Limits(
            timeout=timeout, idle_timeout=idle_timeout, message_bytes=message_bytes, window_bytes=window_bytes
        )
        self._is_borrowed = False
        self._connection = Connection(channel, check_namespace(namespace), check_header(lease))
        self._content = Content(self._connection, self._limits)
        self._held: dict[str, _Held] = {}

    @property
    def address(self) -> str:
        """The server's address, as it appears in messages."""
        return self._connection.address

    @property
    def namespace(self) -> str | None:
        """The namespace of the content."""
        return self._connection.namespace

    @property
    def lease_id(self) -> str | None:
        """The ID of the lease that protects stored blobs, or None."""
        return self._connection.lease

    async def aopen(self) -> Self:
        """Allow calls again after `aclose`; ``async with`` calls it."""
        self._connection.channel.reopen()
        await checkpoint()
        return self

    async def aclose(self) -> None:
        """Close all writers and the connection; ingests are kept. A second call does nothing."""
        if self._is_borrowed:
            await checkpoint()  # it is open as long as the store without this lease
            return
        try:
            await self._close_writers()
        finally:
            self._connection.channel.close()
        await checkpoint()

    @property
    def leases(self) -> RemoteLeases:
        """The leases; see `steelyard.leases`."""
        return RemoteLeases(self._connection, self._limits)

    def with_lease(self, lease: str) -> Self:
        """Return this store, on the same connection, with a lease; see `Store.with_lease`.

        containerd collects unreferenced blobs at any time, but not those of a lease. It does not compare the time at which the lease ends:
        `LeaseEnded` is raised after its next garbage collection.
        """
        leased = type(self).__new__(type(self))
        connection = Connection(self._connection.channel, self.namespace, check_id(lease))
        vars(leased).update(vars(self), _is_borrowed=True, _connection=connection)
        leased._content = Content(connection, self._limits)  # noqa: SLF001  # one of our own
        share_queue(leased, self)
        return leased

    def lease(
        self, *, labels: Mapping[str, str] | None = None, expires: timedelta | None = None, collect: bool = False
    ) -> AbstractAsyncContextManager[Self]:
        """Create a lease, yield this store with it, and end the lease; see `Store.lease`.

        The server does not know whether this process lives. So the lease ends by itself after `expires`, by default a day. When it ends,
        unreferenced blobs are collected: give them a name, or label a blob that references them.

        Args:
            labels: the labels of the lease.
            expires: a time after which the lease ends by itself.
            collect: make containerd collect garbage at the end, and wait for it.
        """
        return managed_lease(self, labels, expires, partial(self.leases.end, collect=collect))

    async def _begin_lease(self, lease: str, labels: Labels, expires: timedelta | None) -> None:
        await self.leases.create(lease, labels=labels, expires=_DAY if expires is None else expires)

    async def _end_lease(self, lease: str) -> None:
        await self.leases.end(lease)

    @property
    def images(self) -> RemoteImageNames:
        """The image names; see `steelyard.names`."""
        return RemoteImageNames(self._connection, self._limits)

    # Provider and Ingester

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> RemoteReader:
        """Open a blob for reading; see `Provider.reader_at`. The reader asks the server for each range."""
        given = Descriptor.of(blob)
        info = await self.info(given.digest)
        given.check_size(info.size)
        return RemoteReader(self._connection, self._limits, given.digest, info.size)

    async def get(self, blob: Descriptor | Digest | str) -> bytes:
        """Return a whole blob, verified, with one call; see `Store.get`."""
        return await read_whole(self._connection, self._limits, Descriptor.of(blob))

    async def _collect(self, options: CollectOptions) -> Collected:
        """Refuse, because a containerd decides itself when to collect, by its own rules."""
        del options
        await checkpoint()
        raise Unsupported(self.address, operation="collect; a containerd collects its garbage by itself")

    async def _collect_defaults(self, grace: timedelta | None, ingest_age: timedelta | None) -> CollectDefaults:
        """Refuse, because a containerd has its own settings."""
        del grace, ingest_age
        await checkpoint()
        raise Unsupported(self.address, operation="collect; a containerd collects its garbage by itself")

    async def _reasons(self, digests: Sequence[Digest]) -> dict[Digest, Reason]:
        """Refuse, because the service does not report which labels and leases keep a blob."""
        del digests
        await checkpoint()
        raise Unsupported(self.address, operation="why; `ctr` shows the labels, leases and images of a containerd")

    async def _put(self, source: Source, options: PutOptions) -> PutResult:
        """Store a source. A small source without a ref takes one message."""
        if options.verify:
            operation = "verifying an ingest before it is committed"
            raise Unsupported(self.address, operation=operation)
        await checkpoint()
        whole = await small(source, most=AT_ONCE) if options.ref is None else None
        if whole is None:
            return await super()._put(source, options)
        return await put_small(self._connection, self._limits, whole, options)

    def _put_many(
        self, sources: Sources, options: PutOptions, concurrency: int | None
    ) -> AsyncGenerator[PutManyResult, None]:
        results = super()._put_many(sources, options, _PUTS_AT_ONCE if concurrency is None else concurrency)
        return results if self.lease_id is None else UntilEnded(results)

    @opening
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> RemoteWriter:
        """Start or resume an ingest; see `Ingester.writer`."""
        options = IngestOptions.parse(ref, size=size, expected=expected, algorithm=algorithm)
        if ref in self._held:
            await checkpoint()
        if ref in self._held:
            raise Unavailable(ref, holder="this process", since=self._held[ref].since, local=True)
        held = self._held[ref] = _Held(datetime.now(UTC))
        try:
            stream = await self._opened(options)
        except BaseException:
            self._release(ref)
            raise
        held.writer = RemoteWriter(
            self._connection,
            options,
            stream,
            limits=self._limits,
            status=lambda: self._status(ref),
            info=self._content.info,
            released=lambda: self._release(ref),
        )
        return held.writer

    async def _opened(self, options: IngestOptions) -> WriteStream:
        ref = options.ref
        headers = () if options.algorithm is None else (("steelyard-algorithm", options.algorithm.value),)
        stream = WriteStream(self._connection, self._limits, headers)
        expected = "" if options.expected is None else str(options.expected)
        about = About(kind="ingest", name=ref, call="Write", expected=expected or None)
        try:
            await stream.answered(stream.send({"ref": ref, "total": options.size or 0, "expected": expected}))
        except Refused as refused:
            stream.close()
            error = error_of(refused, about, self.address, self.lease_id)
            if isinstance(error, AlreadyExists):
                # The ingest of this ref is useless now, and containerd would keep it.
                with suppress(NotFound):
                    await self._content.abort(ref)
            raise error from None
        except BaseException:
            # CANCEL: nothing was written. The server frees the ref before the caller continues.
            await stream.finish()
            raise
        return stream

    def _release(self, ref: str) -> None:
        del self._held[ref]
        self._ref_released(ref)

    async def _close_writers(self) -> None:
        for writer in self._open_writers():
            await writer.aclose()

    def _open_writers(self) -> list[RemoteWriter]:
        return [held.writer for held in self._held.values() if held.writer is not None]

    def _writer_of(self, ref: str) -> RemoteWriter | None:
        held = self._held.get(ref)
        return None if held is None else held.writer

    # Manager

    async def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob; see `Manager.info`."""
        return await self._content.info(Digest.parse(digest))

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the `Info` of each stored digest, with several look-ups at a time."""
        await checkpoint()
        return await self._content.infos(Digest.parse(digest) for digest in digests)

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels; see `Manager.update`."""
        return await self._content.update(info, fieldpaths)

    def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over blobs in the server's order, which is by digest; see `Manager.walk`."""
        return self._content.walk(filters)

    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob and its labels; see `Manager.delete`. containerd frees the bytes at its next garbage collection."""
        await self._content.delete(Digest.parse(digest))

    # IngestManager

    async def status(self, ref: str) -> Status:
        """Return the status of an ingest; see `IngestManager.status`."""
        check_ref(ref)
        writer = self._writer_of(ref)
        if writer is not None:
            return await writer.status()
        return await self._status(ref)

    async def _status(self, ref: str) -> Status:
        return self._with_announced(await self._content.status(ref))

    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the statuses of ingests, ordered by ref; see `IngestManager.list_statuses`."""
        chosen = await compiled(filters)
        for writer in self._open_writers():
            with suppress(SteelyardError):
                await writer.sync()
        statuses = [self._with_announced(status) for status in await self._content.statuses(filters)]
        return sorted(await choose(chosen, statuses, status_fields), key=lambda status: status.ref)

    def _with_announced(self, status: Status) -> Status:
        writer = self._writer_of(status.ref)
        return status if writer is None else writer.with_announced(status)

    async def abort(self, ref: str) -> None:
        """Discard an ingest; see `IngestManager.abort`. A writer of this store raises Aborted from then on. The server ends other writers."""
        check_ref(ref)
        writer = self._writer_of(ref)
        if writer is None:
            await self._content.abort(ref)
        else:
            await writer.abandon(lambda: self._content.abort(ref))
