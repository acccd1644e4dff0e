"""A cache on this machine for the blobs of a bucket."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from steelyard._runtime.calls import run
from steelyard._runtime.opening import opening
from steelyard._runtime.refqueue import ref_queue, share_queue
from steelyard._runtime.scopes import managed
from steelyard.content import Ingester, Provider
from steelyard.digest import Algorithm, Digest
from steelyard.errors import CollectionBusy, CollectionRefused, DataCorrupt, NotFound, StorageError, Unavailable
from steelyard.local import LocalStore
from steelyard.local.reader import LocalReader
from steelyard.local.writer import LocalWriter
from steelyard.model import Descriptor
from steelyard.transfer import copy

__all__ = ("Cache",)

FoundT = TypeVar("FoundT")

_LEFT = 0.9
"""The part of the budget that is left when blobs have to go, so that many go at a time."""

_PAUSE_SECONDS = 60.0
"""How long a cache that failed is left alone."""

_STALLED_SECONDS = 10.0
"""After so long without a new byte, the download of another process counts as stalled."""

_INGEST_AGE = timedelta(days=1)
"""The age after which an interrupted download is removed."""

_NAMES_KEPT = 1024


class _StalledError(Exception):
    """Another process downloads the blob, and does not get on."""


class Cache:
    """Blobs that were read, in a `LocalStore` of their own, where the least recently used ones go first.

    A read never fails because of its cache. If that is full, damaged or broken, the server is asked. Several processes may share one.

    Args:
        path: a directory of this machine.
        most: the most bytes of its blobs.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._local = LocalStore(path / "cache")
        self._most = most
        self._stored: int | None = None
        self._coming = 0
        self._paused_until = 0.0
        self._too_large: set[Digest] = set()

    async def aopen(self) -> None:
        """Open the store of the cache."""
        is_new = not await run(self._local.path.exists)
        await self._local.aopen()
        if is_new:
            try:
                # Its first collection must be alone, and later other processes have the cache open.
                await self._collect(self._most)
            except BaseException:
                await self._local.aclose()
                raise

    async def aclose(self) -> None:
        """Close the store of the cache."""
        await self._local.aclose()

    async def get(self, blob: Descriptor, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return a whole blob, verified. Of the tasks that do not find it here, one reads it from the server, and the others wait."""
        digest = blob.digest
        data = await self._find(blob)
        if data is None and (digest in self._too_large or self._is_paused):
            return await read()
        if data is None:
            async with self._turn(digest):
                data = await self._find(blob)
                if data is None:
                    data = await read()
                    await self._keep(digest, data)
        return data

    async def reader(self, blob: Descriptor) -> LocalReader | None:
        """Open a blob, or return None if it is not here."""
        return await self._there(blob.digest, lambda: self._local.reader_at(blob))

    async def download(self, source: Provider, blob: Descriptor) -> LocalReader | None:
        """Download a blob, unless it is here, and open it. Of several tasks and processes one downloads it, and the others wait.

        Args:
            source: the server.
            blob: the digest and the size.

        Returns:
            The blob, or None if it cannot be kept here.

        Raises:
            NotFound, DataCorrupt, ServerRefused, Unreachable: from the server.

        Cancellation:
            Another task that waits goes on with the download.
        """
        assert blob.size is not None  # noqa: S101  # for the type checker
        there = await self.reader(blob)
        if there is not None or blob.size > self._most or self._is_paused:
            return there
        async with self._turn(blob.digest):
            there = await self.reader(blob)
            if there is not None:
                return there
            try:
                async with self._room(blob.size) as is_enough:
                    if is_enough:
                        await copy(source, blob, _Target(self._local))
            except _StalledError:
                return None
            except StorageError:
                self._pause()
                return None
        return await self.reader(blob)

    async def remove(self, digests: Iterable[Digest]) -> None:
        """Remove blobs, those that are here."""
        for digest in digests:
            with suppress(NotFound, StorageError):
                await self._local.delete(digest)

    async def _find(self, blob: Descriptor) -> bytes | None:
        return await self._there(blob.digest, lambda: self._local.get(blob))

    async def _there(self, digest: Digest, call: Callable[[], Awaitable[FoundT]]) -> FoundT | None:
        """Return what a call finds of a blob, or None if it is not here; a damaged one is removed."""
        try:
            return await call()
        except (NotFound, StorageError):
            return None
        except DataCorrupt:
            await self.remove([digest])
            return None

    async def _keep(self, digest: Digest, data: bytes) -> None:
        if len(data) > self._most:
            if len(self._too_large) >= _NAMES_KEPT:
                self._too_large.clear()
            self._too_large.add(digest)
            return
        try:
            async with self._room(len(data)) as is_enough:
                if is_enough:
                    await self._local.put(data, expected=digest)
        except StorageError:
            self._pause()

    def _turn(self, digest: Digest) -> AbstractAsyncContextManager[object]:
        """Wait until no other task of this process reads or downloads the blob."""
        return ref_queue(self._local).first(f"cache-{digest}")

    @property
    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + _PAUSE_SECONDS

    @managed
    async def _room(self, size: int) -> AsyncIterator[bool]:
        """Make room for a blob that is stored inside the ``async with``, and give whether there is enough."""
        self._coming += size
        try:
            stored = await self._make_room()
            is_enough = stored + self._coming <= self._most
            yield is_enough
            if is_enough and self._stored is not None:
                self._stored += size
        finally:
            self._coming -= size

    async def _make_room(self) -> int:
        """Remove blobs if those that are coming do not fit; return the bytes of those that stay."""
        if self._stored is not None and self._stored + self._coming <= self._most:
            return self._stored
        async with ref_queue(self._local).first("cache"):
            if self._stored is None:
                self._stored = (await self._local.stats()).blob_bytes
            if self._stored + self._coming > self._most:
                left = max(0, int(self._most * _LEFT) - self._coming)
                await self._collect(left)
                self._stored = (await self._local.stats()).blob_bytes
            return self._stored

    async def _collect(self, most: int) -> None:
        """Remove the least recently used blobs, unless another process does, or keeps a first collection from being alone."""
        with suppress(CollectionBusy, CollectionRefused):
            # No root of a cache is worth more than its budget: its metadata may have been lost.
            await self._local.collect(grace=timedelta(0), max_bytes=most, ingest_age=_INGEST_AGE, accept_roots=True)


class _Target(Ingester):
    """The store of a cache, as the target of a download that does not wait for ever for one of another process."""

    def __init__(self, local: LocalStore) -> None:
        self._local = local
        self._offset: int | None = None
        self._since = 0.0
        share_queue(self, local)

    @opening
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> LocalWriter:
        try:
            return await self._local.writer(ref, size=size, expected=expected, algorithm=algorithm)
        except Unavailable as held:
            if not held.local:
                await self._check(ref)
            raise

    async def _check(self, ref: str) -> None:
        """Raise `_StalledError` if the download has stood still for long."""
        try:
            offset = (await self._local.status(ref)).offset
        except NotFound:
            return
        now = time.monotonic()
        if offset != self._offset:
            self._offset, self._since = offset, now
        elif now - self._since > _STALLED_SECONDS:
            raise _StalledError
