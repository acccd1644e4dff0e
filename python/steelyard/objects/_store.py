"""`ObjectStore` itself."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

from anyio.lowlevel import checkpoint

from steelyard._native import ObjectClient, RequestFailed
from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.calls import run
from steelyard._runtime.fork import UNBOUND, Process, ProcessBound
from steelyard._runtime.opening import opening
from steelyard._runtime.refqueue import share_queue
from steelyard.base import BaseStore
from steelyard.content import ReaderAt
from steelyard.content._put_many import UntilEnded
from steelyard.digest import Algorithm, Digest
from steelyard.errors import (
    AlreadyExists,
    FailedPrecondition,
    ServerRefused,
    SteelyardError,
    Unsupported,
)
from steelyard.events import Events, EventSource
from steelyard.leases import check_lease
from steelyard.local import LocalStore
from steelyard.model import (
    Descriptor,
    Info,
    Labels,
    PutManyResult,
    PutResult,
    Source,
    Sources,
    Status,
)
from steelyard.objects._address import ObjectAddress, default_spool
from steelyard.objects._cache import Cache
from steelyard.objects._cached import CachedReader
from steelyard.objects._components import Components
from steelyard.objects._credentials import client_options
from steelyard.objects._leases import DEFAULT_EXPIRES, ObjectLeases
from steelyard.objects._marker import check_marker
from steelyard.objects._names import ObjectImageNames
from steelyard.objects._put_file import put_file
from steelyard.objects._reader import ObjectReader, read_whole
from steelyard.objects._requests import MARKED, Requests
from steelyard.objects._upkeep import Upkeep
from steelyard.objects._uploads import ONE_REQUEST_BYTES, Sealed
from steelyard.objects._writer import ObjectWriter
from steelyard.options import CommitOptions, IngestOptions, PutOptions, check_size
from steelyard.transfer._batched import Item, Sent, put_batched
from steelyard.transfer._small import small

__all__ = ("ObjectStore",)

_CACHE_BYTES = 10 << 30

_PUTS_AT_ONCE = 64
"""Sources of `put_many` at a time, unless the caller says otherwise."""


class ObjectStore(ProcessBound, Upkeep, BaseStore):
    """A store in a bucket of S3-compatible object storage.

    ```python
    async with ObjectStore("s3://bucket/prefix?endpoint=http://127.0.0.1:9000", spool="/var/spool/steelyard") as store:
        result = await store.put("model.bin", ref="model")
        assert result.digest in await store.infos([result.digest])
    ```

    A blob is an object whose key has the digest, and whose content is exactly the blob. Several programs on several machines may use one
    prefix at the same time. Credentials come from the environment, the shared files of AWS, or the role of the machine.

    Args:
        address: ``s3://BUCKET/PREFIX?endpoint=URL&region=NAME``.
        spool: a directory of this machine for unfinished ingests. It needs space for their bytes until they are committed. By default, each
            address has its own directory below ``$XDG_CACHE_HOME/steelyard``. Another machine does not see the ingests of this spool.
            A `put` of a large file without a ref needs no space there.
        cache: a directory of this machine for blobs that were read. The next read of a cached blob needs no request. Processes may share
            the directory. Without a cache, each read goes to the server.
        cache_bytes: the most bytes of the blobs in the cache. The least recently used ones are evicted first.
        read_only: whether to refuse all changes. A store can be read this way from a server that cannot keep one safely.
        create: whether to create the store if there is none below the prefix. A store opened with `read_only` is never created.
        retries: how often a request is tried again, with growing pauses.
        timeout: the most seconds for a request with all its attempts, without the time for the transfer of its bytes.

    Raises (when it is opened):
        InvalidArgument: the address or a shared file is invalid.
        NotFound: there is no store, and it is not to be created.
        ServerRefused: the credentials are wrong, the bucket does not exist, or the check of the server has failed.
        Unreachable: the server does not answer.
        IncompatibleFormat: a newer release wrote the store.
    """

    def __init__(
        self,
        address: str,
        *,
        spool: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int = _CACHE_BYTES,
        read_only: bool = False,
        create: bool = True,
        retries: int = 8,
        timeout: int = 60,
    ) -> None:
        self._address = ObjectAddress.parse(address)
        self._root = Path(spool) if spool is not None else default_spool(self._address)
        check_size(cache_bytes)
        self._cache = None if cache is None else Cache(Path(cache), cache_bytes)
        self._read_only, self._create, self._retries, self._timeout = read_only, create, retries, timeout
        self._events = EventSource()
        self._opened: Components | None = None
        self._has_opened = False
        self._process = UNBOUND

    @property
    def address(self) -> str:
        """The address, without credentials."""
        return str(self._address)

    @property
    def spool(self) -> Path:
        """The directory of unfinished ingests."""
        return self._root

    @property
    def read_only(self) -> bool:
        """Whether the store was opened read-only."""
        return self._read_only

    async def aopen(self) -> Self:
        """Open the store, unless it is open; ``async with`` calls it."""
        if self._opened is not None:
            await checkpoint()
            return self
        options = await run(client_options, self._address)
        try:
            client = await run(partial(ObjectClient, options, retries=self._retries, timeout=self._timeout))
        except RequestFailed as failed:
            raise ServerRefused(self.address, reason=failed.args[2]) from None
        prefix = f"{self._address.prefix}/" if self._address.prefix else ""
        requests = Requests(self.address, client, prefix)
        try:
            await check_marker(requests, self._root, read_only=self._read_only, create=self._create)
            spool = await LocalStore(self._root / "spool").aopen()
            try:
                if self._cache is not None:
                    await self._cache.aopen()
            except BaseException:
                await spool.aclose()
                raise
        except BaseException:
            await requests.aclose()
            raise
        share_queue(self, spool)
        self._opened = Components(self._root, spool, requests, self._events, self._cache)
        self._process = Process()
        self._has_opened = True
        return self

    async def aclose(self) -> None:
        """Close all writers; ingests are kept. A second call does nothing."""
        opened, self._opened = self._opened, None
        if opened is not None and self._has_opened:
            opened.is_closed = True
            self._events.end()
            try:
                await opened.spool.aclose()
                if opened.cache is not None:
                    await opened.cache.aclose()
            finally:
                await opened.requests.aclose()
        await checkpoint()

    @property
    def images(self) -> ObjectImageNames:
        """The image names; see `steelyard.names`."""
        return self._require().names

    @property
    def leases(self) -> ObjectLeases:
        """The leases; see `steelyard.leases`."""
        return self._require().leases

    def with_lease(self, lease: str) -> Self:
        """Return this store with a lease; see `Store.with_lease`. It closes with this one."""
        leased = type(self).__new__(type(self))
        vars(leased).update(vars(self), _lease=check_lease(lease), _has_opened=False)
        share_queue(leased, self)
        return leased

    async def _begin_lease(self, lease: str, labels: Labels, expires: timedelta | None) -> None:
        opened = self._changeable("leases")
        await opened.leases.begin(lease, labels, DEFAULT_EXPIRES if expires is None else expires)

    async def _end_lease(self, lease: str) -> None:
        with suppress(SteelyardError):  # the lease expires by itself
            await self._require().leases.end(lease)

    async def _enter(self, digests: Iterable[Digest]) -> None:
        """Enter blobs into the lease of this store, if it has one."""
        if self._lease is not None:
            await self._require().leases.enter(self._lease, digests=digests)

    def events(self, *filters: str, buffer: int = 4096) -> Events:
        """Iterate over the changes of this store object; see `Store.events`."""
        return self._events.subscribe(filters, buffer=buffer)

    # Provider and Ingester

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob for reading; see `Provider.reader_at`. Each read is a request, unless the blob is in the cache."""
        given = Descriptor.of(blob)
        opened = self._require()
        if opened.cache is not None and (local := await opened.cache.reader(given)) is not None:
            return CachedReader(opened.cache, None, local)
        found = await opened.blobs.look(given.digest)
        given.check_size(found.size)
        reader = ObjectReader(opened.requests, given.digest, found)
        return reader if opened.cache is None else CachedReader(opened.cache, reader, None)

    async def get(self, blob: Descriptor | Digest | str) -> bytes:
        """Return a whole blob, verified; see `Store.get`."""
        opened, given = self._require(), Descriptor.of(blob)
        if opened.cache is None:
            return await read_whole(opened.requests, given)
        return await opened.cache.get(given, lambda: read_whole(opened.requests, given))

    @opening
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> ObjectWriter:
        """Start or resume an ingest in the spool; see `Ingester.writer`."""
        opened = self._changeable("writer")
        options = IngestOptions.parse(ref, size=size, expected=expected, algorithm=algorithm)
        if self._lease is not None:
            await opened.leases.enter(
                self._lease
            )  # enters nothing: a lease that has ended raises before the ingest is opened
        local = await opened.spool.writer(
            ref, size=options.size, expected=options.expected, algorithm=options.algorithm
        )
        try:
            if self._lease is not None:
                # After the writer has opened: a ref that another writer holds must not be entered.
                entered = [] if options.expected is None else [options.expected]
                await opened.leases.enter(self._lease, digests=entered, refs=[ref])
            await self._check_absent(ref, options)
        except BaseException:
            await local.aclose()
            raise
        return ObjectWriter(local, self._publish)

    async def _check_absent(self, ref: str, options: IngestOptions) -> None:
        """Raise AlreadyExists, and drop the ingest, if the expected blob is stored."""
        if options.expected is not None and await self._require().blobs.find(options.expected, options.size):
            await self._end(ref)
            raise AlreadyExists(options.expected)

    async def _publish(self, sealed: Sealed, options: CommitOptions) -> Info:
        """Make sealed bytes a blob, and remove their ingest."""
        assert sealed.name is not None  # noqa: S101  # the ref of an ingest
        info = await self._commit(sealed, options)
        await self._end(sealed.name)
        if info is None:
            raise AlreadyExists(sealed.digest)
        return info

    async def _commit(self, sealed: Sealed, options: CommitOptions) -> Info | None:
        await self._enter([sealed.digest])
        return await self._require().commit(sealed, options)

    async def _end(self, ref: str) -> None:
        """Remove an ingest, and its upload if there is one."""
        opened = self._require()
        await opened.uploads.forget(ref)
        await opened.spool.abort(ref)
        await self._leave(refs=[ref])

    async def _leave(self, *, digests: Iterable[Digest] = (), refs: Iterable[str] = ()) -> None:
        """Remove blobs and ingests that are gone from the lease of this store, if it has one."""
        if self._lease is not None:
            await self._require().leases.leave(self._lease, digests=digests, refs=refs)

    # Manager

    async def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob; see `Manager.info`. It takes two requests, or three for a blob with labels."""
        return await self._require().blobs.info(Digest.parse(digest))

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the `Info` of each stored digest. Many digests are looked up by listing, where that takes fewer requests."""
        await checkpoint()
        return await self._require().blobs.infos([Digest.parse(digest) for digest in digests])

    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the blob is stored, with one request."""
        return await self._require().blobs.has(Digest.parse(digest))

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels; see `Manager.update`."""
        return await self._changeable("update").blobs.update(info, fieldpaths)

    def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over matching blobs in the order of their digests; see `Manager.walk`. A page of 1,000 blobs takes two requests."""
        return self._require().blobs.walk(filters)

    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob and its labels; see `Manager.delete`."""
        blobs, name = self._changeable("delete").blobs, Digest.parse(digest)
        await blobs.delete(name)
        await self._leave(digests=[name])
        await blobs.gone([name], "deleted")

    # IngestManager

    async def status(self, ref: str) -> Status:
        """Return the status of an ingest in the spool; see `IngestManager.status`."""
        return await self._require().spool.status(ref)

    @uninterrupted  # a call with `*filters` would leave its coroutine unawaited
    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the matching ingests in the spool; see `IngestManager.list_statuses`."""
        return await self._require().spool.list_statuses(*filters)

    async def abort(self, ref: str) -> None:
        """Discard an ingest and its unfinished upload; see `IngestManager.abort`."""
        opened = self._changeable("abort")
        await opened.spool.abort(ref)
        await opened.uploads.discard(ref)
        await self._leave(refs=[ref])

    # Store

    async def _put(self, source: Source, options: PutOptions) -> PutResult:
        """Store a source. Without a ref, sources of up to 8 MiB and large files need no space in the spool."""
        opened = self._changeable("put")
        if options.ref is None:
            whole = await small(source, most=ONE_REQUEST_BYTES)
            if whole is not None:
                return await opened.puts.put(whole, options, self._enter)
            sent = await put_file(source, options, self.writer, self._commit, self._end)
            if sent is not None:
                return sent
        return await super()._put(source, options)

    def _put_many(
        self, sources: Sources, options: PutOptions, concurrency: int | None
    ) -> AsyncGenerator[PutManyResult, None]:
        opened = self._changeable("put_many")

        async def put(source: Source) -> PutResult:
            return await self._put(source, options)

        async def put_batch(batch: list[Item], sent: Sent) -> list[PutManyResult | None]:
            return await opened.puts.put_batch(batch, options, self._enter, sent)

        at_once = _PUTS_AT_ONCE if concurrency is None else concurrency
        results = put_batched(put, put_batch, sources, limit=MARKED, concurrency=at_once)
        return results if self._lease is None else UntilEnded(results)

    def _components(self, change: str | None = None) -> Components:
        return self._require() if change is None else self._changeable(change)

    def _require(self) -> Components:
        if self._opened is None or self._opened.is_closed:
            raise FailedPrecondition(f"store {self.address}: not open; use it in `async with`")
        return self._opened

    def _changeable(self, operation: str) -> Components:
        if self._read_only:
            raise Unsupported(self.address, operation=f"{operation} in a store that is open read-only")
        return self._require()
