"""Calls under a lease: the resources that they add to it, and the error that they raise when the lease has ended."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import anyio
import pytest

from steelyard.content import Store
from steelyard.digest import Algorithm, Digest
from steelyard.errors import AlreadyExists, FailedPrecondition, LeaseEnded, NotFound
from steelyard.memory import MemoryStore
from steelyard.model import LeaseResources
from steelyard.testing._leasing import HOUR, blobs_of, expired
from steelyard.testing._steps import every_wait
from steelyard.testing._values import data_of, digest_of, keep
from steelyard.transfer import copy, open_writer, write_blob

__all__ = ("LeasedContract",)

ABSENT = digest_of(b"absent")
LARGE = 9 << 20
"""Bytes of a source that stores do not hold in memory as a whole."""


@pytest.mark.anyio
class LeasedContract:
    """The rules of `Store.lease` and `Store.with_lease`."""

    async def test_a_lease_of_a_context_is_listed_while_it_lasts(self, store: Store) -> None:
        async with store.lease(labels={"k": "v"}):
            (held,) = await store.leases.list()
            assert {"k": "v"} == held.labels
        async with store.lease(expires=HOUR):
            (timed,) = await store.leases.list()
            assert timed.expires_at is not None
            assert timed.id != held.id

        assert [] == await store.leases.list()

    async def test_a_lease_ends_when_its_context_fails(self, store: Store) -> None:
        async def run() -> None:
            async with store.lease() as leased:
                await leased.put(b"data")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await run()

        assert [] == await store.leases.list()
        assert await store.exists(digest_of(b"data"))

    @pytest.mark.parametrize("stored", [False, True])
    async def test_every_blob_that_a_call_stores_or_finds_is_added_to_the_lease(
        self, store: Store, tmp_path: Any, *, stored: bool
    ) -> None:
        source = MemoryStore()
        data = [
            data_of(size, number) for number, size in enumerate((0, 1, 3000, 70_000, LARGE, LARGE, 10, 11, 12, 13, 14))
        ]
        digests = [digest_of(each) for each in data]
        if stored:
            for each in data:
                await store.put(each)
        (tmp_path / "large").write_bytes(data[4])
        (tmp_path / "small").write_bytes(data[3])
        await store.leases.create("a", expires=HOUR)
        leased = store.with_lease("a")

        async def committed(blob: bytes, expected: Digest | None) -> None:
            async with leased.writer("writer") as writer:
                await writer.write(blob)
                await writer.commit(expected=expected)

        results = [
            await leased.put(data[0]),
            await leased.put(data[1], expected=digests[1]),
            await leased.put([data[2][:1000], data[2][1000:]]),
            await leased.put(tmp_path / "small"),
            await leased.put(tmp_path / "large"),
            await leased.put(data[5]),
            await leased.put(data[6], ref="ref", expected=digests[6]),
            await write_blob(leased, data[7], digests[7]),
            await copy(source, await keep(source, data[8]), leased),
        ]
        for number, expected in ((9, None), (10, digests[10])):
            try:
                await committed(data[number], expected)
            except AlreadyExists:
                assert stored

        assert [not stored] * 9 == [result.new for result in results]
        assert set(digests) == await blobs_of(store, "a")
        for each in data:
            assert each == await store.get(digest_of(each))

    async def test_put_many_enters_each_source_before_its_result(self, store: Store, tmp_path: Any) -> None:
        sources = [data_of(number * 7, number) for number in range(300)]
        await store.put(sources[17])
        (tmp_path / "file").write_bytes(data_of(LARGE))
        await store.leases.create("a", expires=HOUR)
        given: list[Any] = [*sources, tmp_path / "file"]

        async with aclosing(store.with_lease("a").put_many(given)) as results:
            async for one in results:
                if one.index % 50 == 0:
                    assert one.result.digest in await blobs_of(store, "a")

        assert {digest_of(each) for each in [*sources, data_of(LARGE)]} == await blobs_of(store, "a")

    async def test_an_ingest_is_entered_until_it_is_committed(self, store: Store) -> None:
        await store.leases.create("a", expires=HOUR)
        leased = store.with_lease("a")
        async with leased.writer("ref") as writer:
            await writer.write(b"data")

        assert ("ref",) == (await store.leases.resources("a")).refs
        async with leased.writer("ref") as writer:
            assert 4 == writer.offset
            await writer.commit()
        found = await store.leases.resources("a")
        assert ((digest_of(b"data"),), ()) == (found.blobs, found.refs)

    async def test_a_writer_that_finds_its_blob_enters_no_ref(self, store: Store) -> None:
        digest = await keep(store, b"data")
        await store.leases.create("a", expires=HOUR)
        leased = store.with_lease("a")
        with pytest.raises(AlreadyExists):
            await leased.writer("ref", expected=digest)

        assert LeaseResources(blobs=(digest,), refs=()) == await store.leases.resources("a")

    async def test_an_aborted_ingest_leaves_the_lease_of_the_caller_alone(self, store: Store) -> None:
        for lease in ("a", "b"):
            await store.leases.create(lease, expires=HOUR)
            async with store.with_lease(lease).writer("ref") as writer:
                await writer.write(b"data")

        await store.with_lease("a").abort("ref")

        assert () == (await store.leases.resources("a")).refs
        assert ("ref",) == (await store.leases.resources("b")).refs

    async def test_a_deleted_blob_leaves_the_lease_of_the_caller_alone(self, store: Store) -> None:
        for lease in ("a", "b"):
            await store.leases.create(lease, expires=HOUR)
            await store.with_lease(lease).put(b"data")
            await store.with_lease(lease).put(b"other")

        await store.with_lease("a").delete(digest_of(b"data"))

        assert {digest_of(b"other")} == await blobs_of(store, "a")
        assert {digest_of(b"data"), digest_of(b"other")} == await blobs_of(store, "b")
        assert not await store.exists(digest_of(b"data"))
        await store.leases.delete("b")
        await store.with_lease("b").delete(digest_of(b"other"))
        assert not await store.exists(digest_of(b"other"))

    async def test_many_deleted_blobs_leave_the_lease_of_the_caller_alone(self, store: Store) -> None:
        await store.leases.create("a", expires=HOUR)
        await store.leases.create("b", expires=HOUR)
        many = [await keep(store.with_lease("a"), b"%d" % number) for number in range(20)]
        await store.leases.add("b", digests=many)
        await store.leases.add("a", digests=[ABSENT])
        async with aclosing(store.with_lease("a").delete_many([*many, ABSENT], errors="yield")) as results:
            assert 20 == len([one async for one in results if one.error is None])

        assert (ABSENT,) == (await store.leases.resources("a")).blobs
        assert tuple(sorted(many, key=str)) == (await store.leases.resources("b")).blobs

    async def test_a_failed_delete_or_abort_leaves_the_lease_as_it_is(self, store: Store) -> None:
        await store.leases.create("a", expires=HOUR)
        await store.leases.add("a", digests=[ABSENT], refs=["ref"])
        with pytest.raises(NotFound):
            await store.with_lease("a").delete(ABSENT)
        with pytest.raises(NotFound):
            await store.with_lease("a").abort("ref")

        assert LeaseResources(blobs=(ABSENT,), refs=("ref",)) == await store.leases.resources("a")

    async def test_a_failed_put_enters_no_blob(self, store: Store) -> None:
        await store.leases.create("a", expires=HOUR)
        leased = store.with_lease("a")
        for arguments in ({"size": 3}, {"expected": ABSENT}):
            with pytest.raises(FailedPrecondition):
                await leased.put(b"data", **arguments)

        assert digest_of(b"data") not in await blobs_of(store, "a")

    async def test_a_blob_stored_without_the_lease_is_not_added_to_it(self, store: Store) -> None:
        async with store.lease() as leased:
            (lease,) = await store.leases.list()
            await store.put(b"beside")
            await leased.put(b"under")
            await leased.get(digest_of(b"beside"))

            assert {digest_of(b"under")} == await blobs_of(store, lease.id)

    async def test_two_leases_protect_the_same_blob(self, store: Store) -> None:
        async with store.lease() as first, store.lease() as second:
            digest = await keep(first, b"data")
            assert not (await second.put(b"data")).new

            assert [{digest}, {digest}] == [await blobs_of(store, each.id) for each in await store.leases.list()]

    async def test_a_store_with_a_lease_has_the_same_content(self, store: Store) -> None:
        async with store.lease() as leased:
            digest = await keep(leased, b"data", a="b")
            async with leased.writer("ref") as writer:
                await writer.write(b"some")
                assert ["ref"] == [status.ref for status in await store.list_statuses()]
            async with open_writer(store, "ref") as again:
                assert 4 == again.offset
            assert [digest] == [info.digest async for info in leased.walk()]
            assert {"a": "b"} == (await store.info(digest)).labels
            await leased.aclose()
            assert b"data" == await store.get(digest)

        assert b"data" == await store.get(digest)

    async def test_a_release_wakes_a_task_that_waits_on_the_store_with_a_lease(self, store: Store) -> None:
        opened: list[int] = []

        async def wait() -> None:
            async with open_writer(leased, "ref") as writer:
                opened.append(writer.offset)

        async with store.lease() as leased, anyio.create_task_group() as tasks, store.writer("ref") as writer:
            await writer.write(b"data")
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert [] == opened

        assert [4] == opened

    @pytest.mark.parametrize("reason", ["deleted", "expired"])
    async def test_a_call_under_an_ended_lease_raises(self, store: Store, tmp_path: Any, *, reason: str) -> None:
        lease = await expired(store) if reason == "expired" else (await store.leases.create(expires=HOUR)).id
        if reason == "deleted":
            await store.leases.delete(lease)
        leased = store.with_lease(lease)
        await store.put(b"stored")
        (tmp_path / "file").write_bytes(data_of(LARGE))
        many = leased.put_many([b"1", b"2", b"3"], errors="yield")

        for call in (
            lambda: leased.put(b"new"),
            lambda: leased.put(b"stored"),
            lambda: leased.put(b"stored", expected=digest_of(b"stored")),
            lambda: leased.put([b"n", b"ew"]),
            lambda: leased.put(tmp_path / "file"),
            lambda: leased.writer("ref"),
            lambda: anext(many),
        ):
            with pytest.raises(LeaseEnded) as caught:
                await call()
            assert lease == caught.value.lease
            assert caught.value.reason in {reason, "deleted"}

        assert [digest_of(b"stored")] == [info.digest async for info in store.walk()]
        assert [] == await store.list_statuses()

    async def test_a_writer_whose_lease_ends_keeps_its_bytes(self, store: Store) -> None:
        async with store.lease() as leased:
            (lease,) = await store.leases.list()
            async with leased.writer("ref") as writer:
                await writer.write(b"data")
                await store.leases.delete(lease.id)
                with pytest.raises(LeaseEnded):
                    await writer.commit()

        assert not await store.exists(digest_of(b"data"))
        async with store.writer("ref") as writer:
            assert 4 == writer.offset
            assert digest_of(b"data") == (await writer.commit()).digest

    async def test_leaving_the_context_of_an_ended_lease_does_not_raise(self, store: Store) -> None:
        async with store.lease() as leased:
            (lease,) = await store.leases.list()
            await store.leases.delete(lease.id)
            with pytest.raises(LeaseEnded):
                await leased.put(b"data")
            assert digest_of(b"data") not in await store.infos([digest_of(b"data")])

    @pytest.mark.parametrize("algorithm", [Algorithm.SHA512, Algorithm.BLAKE3])
    async def test_a_digest_of_another_algorithm_is_entered(self, store: Store, algorithm: Algorithm) -> None:
        async with store.lease() as leased:
            (lease,) = await store.leases.list()
            await leased.put(b"data", algorithm=algorithm)

            assert {digest_of(b"data", algorithm)} == await blobs_of(store, lease.id)

    async def test_a_cancelled_context_leaves_no_lease(self, store: Store) -> None:
        async def run(step: int) -> None:
            async with store.lease(labels={"step": str(step)}) as leased:
                await leased.put(b"%d" % step)

        async for _ in every_wait(run):
            assert [] == await store.leases.list()

    async def test_a_cancelled_put_adds_a_stored_blob_to_the_lease(self, store: Store) -> None:
        async def run(step: int) -> None:
            await leased.put(data_of(5000, step))

        await store.leases.create("a", expires=HOUR)
        leased = store.with_lease("a")
        async for step in every_wait(run):
            stored = {info.digest async for info in store.walk()}
            assert stored <= await blobs_of(store, "a")
            last = digest_of(data_of(5000, step))
        assert last in stored
