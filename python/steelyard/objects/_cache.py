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
"""The fraction of the budget that stays when blobs must be evicted, so that one collection evicts many."""

_PAUSE_SECONDS = 60.0
"""How long a cache is not used after it failed."""

_STALLED_SECONDS = 10.0
"""After this time without a new byte, the download of another process counts as stalled."""

_INGEST_AGE = timedelta(days=1)
"""The age after which an interrupted download is removed."""

_MOST_TOO_LARGE = 1024
"""The most digests of too large blobs that are remembered."""


class _StalledError(Exception):
    """Another process is downloading the blob, and makes no progress."""


class Cache:
    """Blobs that were read, in a separate `LocalStore`. The least recently used ones are evicted first.

    A read never fails because of its cache: if the cache is full, damaged or broken, the server is asked. Several processes may share a cache.

    Args:
        path: a directory of this machine.
        most: the most bytes of all its blobs.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._local = LocalStore(path / "cache")
        self._most = most
        self._stored: int | None = None
        self._reserved = 0
        self._paused_until = 0.0
        self._too_large: set[Digest] = set()

    async def aopen(self) -> None:
        """Open the store of the cache."""
        is_new = not await run(self._local.path.exists)
        await self._local.aopen()
        if is_new:
            try:
                # The first collection of a store must be alone with it. Later, other processes may have the cache open.
                await self._collect(self._most)
            except BaseException:
                await self._local.aclose()
                raise

    async def aclose(self) -> None:
        """Close the store of the cache."""
        await self._local.aclose()

    async def get(self, blob: Descriptor, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return a whole blob, verified. If it is not cached, one task reads it from the server and the others wait."""
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
        """Open a blob, or return None if it is not cached."""
        return await self._cached(blob.digest, lambda: self._local.reader_at(blob))

    async def download(self, source: Provider, blob: Descriptor) -> LocalReader | None:
        """Download a blob unless it is cached, and open it. One task of one process downloads it, and all others wait.

        Args:
            source: the server.
            blob: the digest and the size.

        Returns:
            A reader, or None if the cache cannot keep the blob.

        Raises:
            NotFound, DataCorrupt, ServerRefused, Unreachable: from the server.

        Cancellation:
            Another waiting task continues the download.
        """
        assert blob.size is not None  # noqa: S101  # for the type checker
        cached = await self.reader(blob)
        if cached is not None or blob.size > self._most or self._is_paused:
            return cached
        async with self._turn(blob.digest):
            cached = await self.reader(blob)
            if cached is not None:
                return cached
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
        """Remove blobs, if they are cached."""
        for digest in digests:
            with suppress(NotFound, StorageError):
                await self._local.delete(digest)

    async def _find(self, blob: Descriptor) -> bytes | None:
        return await self._cached(blob.digest, lambda: self._local.get(blob))

    async def _cached(self, digest: Digest, call: Callable[[], Awaitable[FoundT]]) -> FoundT | None:
        """Return the result of a call for a cached blob, or None if the blob is not cached. A damaged blob is removed."""
        try:
            return await call()
        except (NotFound, StorageError):
            return None
        except DataCorrupt:
            await self.remove([digest])
            return None

    async def _keep(self, digest: Digest, data: bytes) -> None:
        if len(data) > self._most:
            if len(self._too_large) >= _MOST_TOO_LARGE:
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
        """Wait until no other task of this process is reading or downloading the blob."""
        return ref_queue(self._local).first(f"cache-{digest}")

    @property
    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until

    def _pause(self) -> None:
        self._paused_until = time.monotonic() + _PAUSE_SECONDS

    @managed
    async def _room(self, size: int) -> AsyncIterator[bool]:
        """Make room for a blob that is stored inside the ``async with``, and yield whether there is enough."""
        self._reserved += size
        try:
            stored = await self._make_room()
            is_enough = stored + self._reserved <= self._most
            yield is_enough
            if is_enough and self._stored is not None:
                self._stored += size
        finally:
            self._reserved -= size

    async def _make_room(self) -> int:
        """Remove blobs if there is no room for the new ones, and return the bytes of the blobs that stay."""
        if self._stored is not None and self._stored + self._reserved <= self._most:
            return self._stored
        async with ref_queue(self._local).first("cache"):
            if self._stored is None:
                self._stored = (await self._local.stats()).blob_bytes
            if self._stored + self._reserved > self._most:
                left = max(0, int(self._most * _LEFT) - self._reserved)
                await self._collect(left)
                self._stored = (await self._local.stats()).blob_bytes
            return self._stored

    async def _collect(self, most: int) -> None:
        """Remove the least recently used blobs. Do nothing if another process is collecting, or prevents a first collection."""
        with suppress(CollectionBusy, CollectionRefused):
            # A cache needs no roots, so it may collect after its metadata was lost, too.
            await self._local.collect(grace=timedelta(0), max_bytes=most, ingest_age=_INGEST_AGE, accept_roots=True)


class _Target(Ingester):
    """The store of a cache as the target of a download. It does not wait for a stalled download of another process."""

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
        """Raise `_StalledError` if the other download has made no progress for `_STALLED_SECONDS`."""
        try:
            offset = (await self._local.status(ref)).offset
        except NotFound:
            return
        now = time.monotonic()
        if offset != self._offset:
            self._offset, self._since = offset, now
        elif now - self._since > _STALLED_SECONDS:
            raise _StalledError
