"""A store of your own: it fetches absent blobs from a far store into a near one, once, resumably and verified.

It inherits `BaseStore` and implements the interfaces. The contract suite tests it:

    pytest examples/own_store.py
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from steelyard import (
    Algorithm,
    Descriptor,
    Digest,
    Info,
    MemoryStore,
    NotFound,
    ReaderAt,
    Status,
    Store,
    Unavailable,
    Writer,
    copy,
)
from steelyard.base import BaseStore
from steelyard.content import opening
from steelyard.names import ImageNames
from steelyard.testing import StoreContract


class ReadThroughStore(BaseStore):
    """Lists the near store. A blob that is requested by its digest is fetched from the far store if it is not near."""

    def __init__(self, near: Store, far: Store) -> None:
        self._near = near
        self._far = far

    @property
    def images(self) -> ImageNames:
        """The names are those of the near store."""
        return self._near.images

    async def _fetch(self, blob: Descriptor | Digest | str) -> None:
        # The ref that `copy` takes is made of the digest: two callers that miss the same blob share one transfer.
        await copy(self._far, blob, self._near)

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob, and fetch it first if it is not near."""
        try:
            return await self._near.reader_at(blob)
        except NotFound:
            await self._fetch(Descriptor.of(blob).digest)
            return await self._near.reader_at(blob)

    async def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob, and fetch it first if it is not near."""
        try:
            return await self._near.info(digest)
        except NotFound:
            await self._fetch(digest)
            return await self._near.info(digest)

    @opening
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Writer:
        """Write to the near store."""
        try:
            return await self._near.writer(ref, size=size, expected=expected, algorithm=algorithm)
        except Unavailable as error:
            # The near store wakes those who wait on the near store, not on this one: here `open_writer` has to look again.
            error.local = False
            raise

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set labels in the near store."""
        return await self._near.update(info, *fieldpaths)

    def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Walk over the near store."""
        return self._near.walk(*filters)

    async def delete(self, digest: Digest | str) -> None:
        """Delete the blob in the near store; the next request fetches it again."""
        await self._near.delete(digest)

    async def status(self, ref: str) -> Status:
        """Return the status of an ingest of the near store."""
        return await self._near.status(ref)

    async def list_statuses(self, *filters: str) -> list[Status]:
        """List the ingests of the near store."""
        return await self._near.list_statuses(*filters)

    async def abort(self, ref: str) -> None:
        """Abort an ingest of the near store."""
        await self._near.abort(ref)


class TestReadThroughStore(StoreContract):
    """The contract of every store, with one intended difference."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        """Give a new store with an empty far store."""
        async with MemoryStore() as near, MemoryStore() as far:
            yield ReadThroughStore(near, far)

    async def test_a_held_ref_is_unavailable_and_names_its_holder(self, store: Store) -> None:
        """The error is raised, but without `local`: see `ReadThroughStore.writer`."""
        async with store.writer("ref"):
            with pytest.raises(Unavailable) as caught:
                await store.writer("ref")

        assert caught.value.ref == "ref"
        assert not caught.value.local


@pytest.mark.anyio
async def test_a_blob_that_is_far_only_is_fetched_once() -> None:
    """The additional behaviour of this store."""
    async with MemoryStore() as near, MemoryStore() as far:
        stored = await far.put(b"from far")
        store = ReadThroughStore(near, far)

        assert await store.get(stored.digest) == b"from far"
        await far.delete(stored.digest)
        assert await store.get(stored.digest) == b"from far"
