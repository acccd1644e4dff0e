"""Leases: how they are created, listed, changed and ended."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidDigest, InvalidFilter, InvalidLabel, LeaseExists, NotFound
from steelyard.leases import EXPIRES_LIMIT, LEASE_LIMIT
from steelyard.model import LABEL_LIMIT, Labels
from steelyard.testing._steps import every_wait
from steelyard.testing._values import begin, digest_of, keep, now

__all__ = ("HOUR", "LeasingContract", "blobs_of", "expired")

HOUR = timedelta(hours=1)
MOMENT = timedelta(milliseconds=20)
ABSENT = digest_of(b"absent")


async def blobs_of(leased: Store, lease: str) -> set[Digest]:
    """Return the digests that a lease protects."""
    return set((await leased.leases.resources(lease)).blobs)


async def expired(store: Store) -> str:
    """Return the ID of a lease that has expired."""
    lease = (await store.leases.create(expires=MOMENT)).id
    while lease in {each.id for each in await store.leases.list()}:  # noqa: ASYNC110  # a clock notifies no task
        await anyio.sleep(MOMENT.total_seconds())
    return lease


@pytest.mark.anyio
class LeasingContract:
    """The rules of `steelyard.leases`."""

    changes_are_whole = True
    """Whether a cancelled change of several resources happens completely or not at all."""

    async def test_a_lease_is_listed_until_it_is_deleted(self, store: Store) -> None:
        before = now()
        made = await store.leases.create("b", expires=HOUR, labels={"k": "v"})
        other = await store.leases.create(expires=HOUR)

        assert ("b", Labels({"k": "v"})) == (made.id, made.labels)
        assert made.expires_at is not None
        assert before - timedelta(seconds=1) <= made.created_at <= now()
        assert abs(made.expires_at - made.created_at - HOUR) <= timedelta(seconds=1)
        assert made.process is None
        assert other.id not in {"", "b"}
        assert made == await store.leases.get("b")
        assert sorted([made, other], key=lambda each: each.id) == await store.leases.list()

        await store.leases.delete("b")

        assert [other] == await store.leases.list()
        for call in (
            store.leases.get,
            store.leases.delete,
            store.leases.resources,
            store.leases.add,
            store.leases.remove,
        ):
            with pytest.raises(NotFound) as caught:
                await call("b")
            assert ("lease", "b") == (caught.value.kind, caught.value.name)

    async def test_an_id_that_is_in_use_is_refused(self, store: Store) -> None:
        made = await store.leases.create("a", expires=HOUR)
        with pytest.raises(LeaseExists) as caught:
            await store.leases.create("a", expires=HOUR * 2, labels={"k": "v"})

        assert "a" == caught.value.lease
        assert [made] == await store.leases.list()
        await store.leases.delete("a")
        assert {"k": "v"} == (await store.leases.create("a", expires=HOUR, labels={"k": "v"})).labels

    @pytest.mark.parametrize(
        "lease", ["", "\ud800", "x" * (LEASE_LIMIT + 1), "ü" * (LEASE_LIMIT // 2 + 1), "a\n", "\x9b"]
    )
    async def test_an_invalid_id_is_refused_by_every_call(self, store: Store, lease: str) -> None:
        with pytest.raises(InvalidArgument):
            await store.leases.create(lease, expires=HOUR)
        for call in (
            store.leases.get,
            store.leases.delete,
            store.leases.resources,
            store.leases.add,
            store.leases.remove,
        ):
            with pytest.raises(InvalidArgument):
                await call(lease)
        with pytest.raises(InvalidArgument):
            store.with_lease(lease)

        assert [] == await store.leases.list()

    @pytest.mark.parametrize("lease", ["a", "A b/../ü%_*'\"", "x" * LEASE_LIMIT, "sha256:00", " "])
    async def test_any_other_text_is_an_id(self, store: Store, lease: str) -> None:
        made = await store.leases.create(lease, expires=HOUR)
        leased = store.with_lease(lease)
        digest = await keep(leased, b"data")

        assert made == await store.leases.get(lease)
        assert {digest} == await blobs_of(store, lease)
        await store.leases.delete(lease)

    @pytest.mark.parametrize("expires", [timedelta(0), timedelta(seconds=-1), EXPIRES_LIMIT + MOMENT, timedelta.max])
    async def test_an_impossible_time_is_refused(self, store: Store, expires: timedelta) -> None:
        with pytest.raises(InvalidArgument):
            await store.leases.create("a", expires=expires)
        with pytest.raises(InvalidArgument):
            async with store.lease(expires=expires):
                pass

        assert [] == await store.leases.list()

    async def test_a_label_over_the_limit_makes_no_lease(self, store: Store) -> None:
        for labels in ({"k": "v" * LABEL_LIMIT}, {"": "v"}):
            with pytest.raises(InvalidLabel):
                await store.leases.create("a", expires=HOUR, labels=labels)
            with pytest.raises(InvalidLabel):
                async with store.lease(labels=labels):
                    pass

        assert [] == await store.leases.list()

    async def test_filters_choose_leases(self, store: Store) -> None:
        await store.leases.create("b:1", expires=HOUR, labels={"env": "prod", "dotted.key": "x"})
        await store.leases.create("a:1", expires=HOUR * 3)
        await store.leases.create("a:2", expires=HOUR, labels={"env": "test"})
        later = (now() + 2 * HOUR).isoformat()

        for filters, expected in (
            ([], ["a:1", "a:2", "b:1"]),
            (["id~=^a:"], ["a:1", "a:2"]),
            (["id==b:1", "labels.env==test"], ["a:2", "b:1"]),
            (["labels.env"], ["a:2", "b:1"]),
            (["labels.dotted.key==x"], ["b:1"]),
            ([f'expires_at>"{later}"'], ["a:1"]),
            ([f'created_at>"{later}"'], []),
            (["labels.none"], []),
        ):
            assert expected == [lease.id for lease in await store.leases.list(*filters)], filters
        with pytest.raises(InvalidFilter):
            await store.leases.list("id=")

    async def test_resources_are_added_and_removed_whether_stored_or_not(self, store: Store) -> None:
        stored = await keep(store, b"stored")
        await begin(store, "ingest", b"data")
        await store.leases.create("a", expires=HOUR)
        await store.leases.add("a", digests=[stored, str(ABSENT)], refs=["ingest", "absent"])
        await store.leases.add("a", digests=[stored])
        await store.leases.add("a")

        found = await store.leases.resources("a")
        assert (tuple(sorted([stored, ABSENT])), ("absent", "ingest")) == (found.blobs, found.refs)
        await store.leases.remove("a", digests=[str(ABSENT), digest_of(b"never")], refs=["absent", "never"])
        found = await store.leases.resources("a")
        assert ((stored,), ("ingest",)) == (found.blobs, found.refs)

    async def test_an_invalid_resource_changes_nothing(self, store: Store) -> None:
        await store.leases.create("a", expires=HOUR)
        await store.leases.add("a", digests=[ABSENT], refs=["ref"])
        for call in (store.leases.add, store.leases.remove):
            with pytest.raises(InvalidDigest):
                await call("a", digests=[ABSENT, "sha256:00"], refs=["ref"])
            with pytest.raises(InvalidArgument):
                await call("a", digests=[ABSENT], refs=["ref", ""])

        found = await store.leases.resources("a")
        assert ((ABSENT,), ("ref",)) == (found.blobs, found.refs)

    async def test_an_expired_lease_counts_as_deleted(self, store: Store) -> None:
        lease = await expired(store)

        for call in (store.leases.get, store.leases.delete, store.leases.resources, store.leases.add):
            with pytest.raises(NotFound):
                await call(lease)
        assert [] == await store.leases.list()
        made = await store.leases.create(lease, expires=HOUR)
        assert made == await store.leases.get(lease)
        assert set() == await blobs_of(store, lease)

    async def test_a_cancelled_change_of_a_lease_happens_as_a_whole(self, store: Store) -> None:
        await store.leases.create("a", expires=HOUR)
        both = {digest_of(b"1"), digest_of(b"2")}

        async def change(step: int) -> None:
            del step
            await store.leases.add("a", digests=both)
            await store.leases.remove("a", digests=both)

        async for _ in every_wait(change):
            found = await blobs_of(store, "a")
            assert found <= both
            assert found in (set(), both) or not self.changes_are_whole
