"""A store of your own: what is missing near is fetched from far, once, resumably, and verified on the way.

It inherits what every store has in common and writes the four interfaces. The contract suite then argues with it:

    pytest examples/own_store.py
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from steelyard import (
    Algorithm,
    Descriptor,
    Digest,
    ImageNames,
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
from steelyard.testing import StoreContract


class ReadThroughStore(BaseStore):
    """Shows what is near; a blob that is asked for by its digest comes from far when it is not near."""

    def __init__(self, near: Store, far: Store) -> None:
        self._near = near
        self._far = far

    @property
    def images(self) -> ImageNames:
        """The names are those of the near store."""
        return self._near.images

    async def _fetch(self, digest: Digest | str) -> None:
        # The ref that `copy` takes is made of the digest: two callers that miss the same blob share one transfer.
        await copy(self._far, digest, self._near)

    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob; fetch it first if it is not near."""
        try:
            return await self._near.reader_at(blob)
        except NotFound:
            await self._fetch(blob.digest if isinstance(blob, Descriptor) else blob)
            return await self._near.reader_at(blob)

    async def info(self, digest: Digest | str) -> Info:
        """Tell what is known of a blob; fetch it first if it is not near."""
        try:
            return await self._near.info(digest)
        except NotFound:
            await self._fetch(digest)
            return await self._near.info(digest)

    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Writer:
        """Write near."""
        try:
            return await self._near.writer(ref, size=size, expected=expected, algorithm=algorithm)
        except Unavailable as error:
            # The near store wakes those who wait on the near store, not on this one: here `open_writer` has to look again.
            error.local = False
            raise

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Label near."""
        return await self._near.update(info, *fieldpaths)

    def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Walk over what is near."""
        return self._near.walk(*filters)

    async def delete(self, digest: Digest | str) -> None:
        """Delete near; asked for again, it comes again."""
        await self._near.delete(digest)

    async def status(self, ref: str) -> Status:
        """Tell the status of an ingest near."""
        return await self._near.status(ref)

    async def list_statuses(self, *filters: str) -> list[Status]:
        """List the ingests near."""
        return await self._near.list_statuses(*filters)

    async def abort(self, ref: str) -> None:
        """Abort an ingest near."""
        await self._near.abort(ref)


class TestReadThroughStore(StoreContract):
    """Everything that a store has to do, and one thing that this one does otherwise."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[Store]:
        """Give a new one, with nothing far."""
        async with MemoryStore() as near, MemoryStore() as far:
            yield ReadThroughStore(near, far)

    async def test_a_held_ref_is_unavailable_and_names_its_holder(self, store: Store) -> None:
        """It says so, but not that it will tell when the ref is free: see `ReadThroughStore.writer`."""
        async with await store.writer("ref"):
            with pytest.raises(Unavailable) as caught:
                await store.writer("ref")

        assert caught.value.ref == "ref"
        assert not caught.value.local


@pytest.mark.anyio
async def test_a_blob_that_is_far_only_is_fetched_once() -> None:
    """And what it has that other stores have not."""
    async with MemoryStore() as near, MemoryStore() as far:
        stored = await far.put(b"from far")
        store = ReadThroughStore(near, far)

        assert await store.get(stored.digest) == b"from far"
        await far.delete(stored.digest)
        assert await store.get(stored.digest) == b"from far"
