"""The rules that object storage keeps in place of those of the contract."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from steelyard.content import Store
from steelyard.errors import NotFound
from steelyard.testing import every_wait
from steelyard.testing._cancelling import SIZE, offset_of_free
from steelyard.testing._collecting import collect, document
from steelyard.testing._eventing import take
from steelyard.testing._leasing import expired
from steelyard.testing._values import data_of, digest_of, keep

__all__ = ("ObjectsCollect", "ObjectsKeep")


@pytest.mark.anyio
class ObjectsCollect:
    """An open reader holds nothing at the server; the time of the last use is that of the object, in whole seconds."""

    async def test_an_open_blob_can_be_read_after_its_collection(self, store: Store) -> None:
        """It cannot."""
        digest = await keep(store, b"data")
        async with store.reader_at(digest) as reader:
            assert {digest} == (await collect(store))[1]
            with pytest.raises(NotFound):
                await reader.read_at(0, 4)

    @pytest.fixture(autouse=True)
    def pause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wait between two uses until the server's clock is a second later."""
        monkeypatch.setattr("steelyard.testing._sweeping.PAUSE", 1.01)

    async def test_a_lease_that_expires_has_an_event_when_the_next_one_begins(self, store: Store) -> None:
        """When the next collection removes it: a lease that begins does not look at others."""
        async with store.events("lease") as events:
            lease = await expired(store)
            await store.collect()
            found = await take(events, 2)

        assert [("lease_begun", lease), ("lease_ended", lease)] == [(event.type, event.lease) for event in found]

    async def test_the_most_recently_used_garbage_is_removed_last(self, store: Store) -> None:
        """Stored last, that is, as reading leaves no trace."""
        blobs = []
        for number in range(3):
            blobs.append(await keep(store, data_of(1000, number)))
            await anyio.sleep(1.01)
        await store.get(blobs[0])
        for left, gone in ((2000, 0), (1000, 1), (0, 2)):
            assert {blobs[gone]} == (await collect(store, max_bytes=left))[1]

    async def test_a_document_that_was_used_keeps_its_parts_in_a_budget(self, store: Store) -> None:
        """A document that is as new as its parts."""
        parts = [await keep(store, data_of(1000, number)) for number in range(3)]
        await anyio.sleep(1.01)
        manifest = await keep(store, document(layers=parts[:1]))
        size = sum([info.size async for info in store.walk()])
        assert set(parts[1:]) == (await collect(store, max_bytes=size - 2000))[1]
        assert {manifest} == (await collect(store, max_bytes=size - 2001))[1]


@pytest.mark.anyio
class ObjectsKeep:
    """A reader holds nothing, and a request that was cancelled may be carried out all the same."""

    changes_are_whole = False

    async def test_an_open_reader_outlives_the_blob(self, store: Store) -> None:
        """A reader holds nothing at the server."""
        digest = await keep(store, b"data")
        async with store.reader_at(digest) as reader:
            await store.delete(digest)
            with pytest.raises(NotFound):
                await reader.read_at(0, 4)

    async def test_a_cancelled_commit_stores_the_blob_or_keeps_the_ingest(self, store: Store) -> None:
        """Both, if the server has done what it was asked, and its answer came too late."""

        async def run(step: int) -> None:
            async with store.writer(f"{step}") as writer:
                await writer.write(data_of(SIZE, step))
                await writer.commit(labels={"step": str(step)})

        async for step in every_wait(run):
            data, held = data_of(SIZE, step), await offset_of_free(store, f"{step}")
            assert held in {0, SIZE}
            if await store.exists(digest_of(data)):
                assert data == await store.get(digest_of(data))
                assert {"step": str(step)} == (await store.info(digest_of(data))).labels
        assert await store.exists(digest_of(data_of(SIZE, step)))
        assert 0 == held

    async def test_a_cancelled_delete_leaves_a_whole_blob_or_none(self, store: Store) -> None:
        """A request that was cancelled on its way may still be carried out, a moment later."""

        async def run(step: int) -> None:
            await store.delete(await keep(store, b"%d" % step, a="b"))

        async for step in every_wait(run):
            with suppress(NotFound):
                info = await store.info(digest_of(b"%d" % step))
                assert {"a": "b"} == info.labels
                assert b"%d" % step == await store.get(info.digest)
