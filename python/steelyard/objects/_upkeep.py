"""The methods for the operator of a store: server, size, unfinished uploads, damaged copies and collections."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from steelyard._runtime.calls import run
from steelyard._runtime.concurrent import map_concurrently
from steelyard.collection import CollectDefaults, Collected, CollectOptions, Reason
from steelyard.digest import Digest
from steelyard.local import LocalStore, StoreStats
from steelyard.model import OnProgress, Verified
from steelyard.objects._blobs import Blobs
from steelyard.objects._collection import Collection
from steelyard.objects._layout import BLOBS, QUARANTINE, damaged_at, digest_at
from steelyard.objects._marker import check_file
from steelyard.objects._probe import ServerCheck, kept_check
from steelyard.objects._requests import Object, Requests
from steelyard.objects._unfinished import UnfinishedUpload, abort_abandoned, unfinished
from steelyard.objects._uploads import Uploads
from steelyard.objects._values import to_time
from steelyard.objects._verify import Verification, verify, verify_all

__all__ = ("QuarantinedObject", "Server", "Upkeep")

_AT_ONCE = 32
"""The most objects that are removed at the same time."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server, as it describes itself.

    Attributes:
        name: the name that it reports, or None.
        clock_ahead: the whole seconds by which its clock is ahead of this machine's, negative if it is behind; None if it does not report
            its time. The reported time is exact to a second.
    """

    name: str | None
    clock_ahead: int | None


class QuarantinedObject(msgspec.Struct, frozen=True, kw_only=True):
    """A damaged copy of a blob, which `verify` has moved to ``quarantine/``.

    Attributes:
        digest: the blob.
        key: the key of the object with the damaged bytes, below the prefix of the store.
        size: its size, in bytes.
        moved_at: the time at which it was moved (UTC), by the server's clock.
    """

    digest: Digest
    key: str
    size: int
    moved_at: datetime


class Components(Protocol):
    """The components of an open store that these methods use."""

    spool: LocalStore
    requests: Requests
    uploads: Uploads
    collection: Collection
    blobs: Blobs
    verification: Verification


class Upkeep(ABC):
    """The methods of `ObjectStore` that `Store` does not have, and the hooks of its collections."""

    @property
    @abstractmethod
    def spool(self) -> Path:
        """The directory of unfinished ingests."""

    @property
    @abstractmethod
    def read_only(self) -> bool:
        """Whether the store was opened read-only."""

    @abstractmethod
    def _components(self, change: str | None = None) -> Components:
        """Return the components of the store, which must be open. If `change` names an operation, the store must not be read-only."""

    # Collections

    async def _collect(self, options: CollectOptions) -> Collected:
        components = self._components(None if options.dry_run else "collect")
        return await components.collection.collect(options)

    async def _collect_defaults(self, grace: timedelta | None, ingest_age: timedelta | None) -> CollectDefaults:
        components = self._components(None if grace is ingest_age is None else "set_collect_defaults")
        return await components.collection.defaults(grace, ingest_age)

    async def _reasons(self, digests: Sequence[Digest]) -> dict[Digest, Reason]:
        return await self._components().collection.reasons(digests)

    async def _serve(self, collector: str | None) -> None:
        if not self.read_only:  # a read-only store object collects nothing
            await self._components().collection.serve(collector)

    # Verification

    async def verify(
        self, digest: Digest | str, *, quarantine: bool = True, on_progress: OnProgress | None = None
    ) -> None:
        """Read a blob again and compare it with its digest.

        Args:
            digest: the blob.
            quarantine: keep the bytes of a damaged blob below ``quarantine/``, and delete the blob.
            on_progress: called with `Progress`.

        Raises:
            NotFound: the blob is not stored.
            DataCorrupt: the bytes do not match the digest.
        """
        components = self._components("verify with quarantine" if quarantine else None)
        await verify(
            components.requests, components.blobs, Digest.parse(digest), quarantine=quarantine, on_progress=on_progress
        )

    def verify_all(
        self,
        *,
        concurrency: int = 4,
        resume: bool = False,
        quarantine: bool = True,
        on_progress: OnProgress | None = None,
    ) -> AsyncGenerator[Verified, None]:
        """Verify every blob, and yield the result of each as soon as it is known.

        Args:
            concurrency: the number of blobs at a time.
            resume: continue the last run with this spool, if it did not reach its end.
            quarantine: see `verify`.
            on_progress: called with `Progress`.
        """
        components = self._components("verify with quarantine" if quarantine else None)
        return verify_all(
            components.requests,
            components.blobs,
            components.verification,
            concurrency=concurrency,
            resume=resume,
            quarantine=quarantine,
            on_progress=on_progress,
        )

    # The server, and objects that are left at it

    async def check(self) -> ServerCheck | None:
        """Return the result of the server's check, from this spool, or None if there is none. The store need not be open.

        The server is checked when a store is opened with a spool for the first time, unless it is opened read-only.
        """
        return await run(kept_check, check_file(self.spool))

    async def server(self) -> Server:
        """Request the server's name, and compare its clock with this machine's. This takes one request."""
        requests, before = self._components().requests, time.time()
        name, now = await requests.server()
        return Server(name=name, clock_ahead=None if now is None else _ahead(now / 10**9, before, time.time()))

    async def stats(self) -> StoreStats:
        """Return the number and size of blobs and quarantined copies, and of the ingests in the spool.

        Cost: a request for each 1,000 blobs and copies.
        """
        components = self._components()
        statuses = await components.spool.list_statuses()
        blobs, blob_bytes = await _counted(components.requests, BLOBS)
        quarantined, quarantined_bytes = await _counted(components.requests, QUARANTINE)
        return StoreStats(
            blobs=blobs,
            blob_bytes=blob_bytes,
            ingests=len(statuses),
            ingest_bytes=sum(status.offset for status in statuses),
            quarantined=quarantined,
            quarantined_bytes=quarantined_bytes,
        )

    async def quarantined(self) -> list[QuarantinedObject]:
        """Return the damaged copies below ``quarantine/``, in the order of their digests. No read uses them."""
        return [_quarantined(*each) async for each in _damaged(self._components().requests)]

    async def empty_quarantine(self) -> list[QuarantinedObject]:
        """Remove the damaged copies below ``quarantine/``.

        Returns:
            The copies that were removed.

        Raises:
            Unsupported: the store is open read-only.

        Cancellation: some copies may have been removed.
        """
        requests = self._components("empty_quarantine").requests
        found = [_quarantined(*each) async for each in _damaged(requests)]
        await map_concurrently(found, lambda each: requests.delete(each.key), concurrency=_AT_ONCE)
        return found

    def uploads(self) -> AsyncGenerator[UnfinishedUpload, None]:
        """Iterate over the unfinished uploads of blobs at the server, including those of other spools.

        Raises:
            ServerRefused: the server cannot list uploads.

        Cost: at most three requests for each 1,000 uploads.
        """
        components = self._components()
        return unfinished(components.requests, components.uploads, components.spool)

    def abort_uploads(self) -> AsyncGenerator[UnfinishedUpload, None]:
        """Discard the uploads that are `abandoned`, and yield each after it was discarded.

        Raises:
            ServerRefused: the server cannot list uploads.
            Unsupported: the store is open read-only.

        Cancellation: the uploads that were yielded are discarded, and perhaps one more.

        Cost: that of `uploads`, and one request for each discarded upload.
        """
        components = self._components("abort_uploads")
        return abort_abandoned(components.requests, components.uploads, components.spool)


async def _damaged(requests: Requests) -> AsyncGenerator[tuple[Digest, Object], None]:
    pages = requests.pages(QUARANTINE)
    while objects := await pages.next():
        for each in objects:
            if (digest := damaged_at(each.key)) is not None:
                yield digest, each


def _quarantined(digest: Digest, found: Object) -> QuarantinedObject:
    return QuarantinedObject(digest=digest, key=found.key, size=found.size, moved_at=to_time(found.modified_ns))


async def _counted(requests: Requests, prefix: str) -> tuple[int, int]:
    """Return the number and total size of the store's objects below `blobs/` or `quarantine/`."""
    digest_of = digest_at if prefix == BLOBS else damaged_at
    count = size = 0
    pages = requests.pages(prefix)
    while objects := await pages.next():
        ours = [each.size for each in objects if digest_of(each.key) is not None]
        count, size = count + len(ours), size + sum(ours)
    return count, size


def _ahead(server: float, before: float, after: float) -> int:
    """Return the whole seconds by which the server's clock is ahead.

    Args:
        server: the time that it showed, truncated to whole seconds.
        before, after: this machine's time before and after that.
    """
    return int(server - after if server > after else min(0.0, server + 1 - before))
