"""Many blobs at once: `update_many` and `delete_many`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from operator import itemgetter
from typing import Any

import pytest

from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidDigest, InvalidLabel, NotFound
from steelyard.model import LABEL_LIMIT, Blobs, Info
from steelyard.testing._steps import every_wait
from steelyard.testing._values import digest_of, keep

__all__ = ("ChangingContract",)

ABSENT = digest_of(b"absent")


async def kept(store: Store, count: int, **labels: str) -> list[Digest]:
    """Store `count` blobs, and return their digests."""
    return [await keep(store, b"%d" % number, **labels) for number in range(count)]


async def updated(store: Store, blobs: Any, labels: dict[str, str | None], **options: Any) -> list[Info]:
    """Change labels of blobs, and return the new infos."""
    async with aclosing(store.update_many(blobs, labels, **options)) as results:
        return [one.result async for one in results]


async def deleted(store: Store, blobs: Any, **options: Any) -> list[Any]:
    """Delete blobs, and return those that were deleted, in the form in which they were passed."""
    async with aclosing(store.delete_many(blobs, **options)) as results:
        return [one.blob async for one in results if one.error is None]


async def left(store: Store) -> set[Digest]:
    """Return the digests of the stored blobs."""
    return {info.digest async for info in store.walk()}


async def each(blobs: list[Any]) -> AsyncIterator[Any]:
    """Iterate over the blobs."""
    for blob in blobs:
        yield blob


@pytest.mark.anyio
class ChangingContract:
    """The rules of `Store.update_many` and `Store.delete_many`."""

    async def test_update_many_sets_and_removes_labels_and_leaves_others(self, store: Store) -> None:
        digests = await kept(store, 70, a="1", b="2", c="3")
        other = await keep(store, b"other", a="1")
        before = await store.infos([*digests, other])
        found = await updated(store, digests, {"a": "one", "b": None, "d": "4", "absent": None})

        assert sorted(digests) == sorted(info.digest for info in found)
        for info in found:
            assert {"a": "one", "c": "3", "d": "4"} == info.labels
            was = before[info.digest]
            assert info == await store.info(info.digest)
            assert (was.size, was.created_at) == (info.size, info.created_at)
            assert was.updated_at <= info.updated_at
        assert before[other] == await store.info(other)
        assert set(digests) == {info.digest async for info in store.walk("labels.d==4")}
        assert set() == {info.digest async for info in store.walk("labels.b")}

    async def test_many_may_be_infos_and_digests_and_may_come_late(self, store: Store) -> None:
        one, two, three = await kept(store, 3)
        blobs: list[Info | Digest | str] = [await store.info(one), two, str(three)]
        places = []
        givens: tuple[Blobs, ...] = (blobs, iter(blobs), each(blobs))
        for number, given in enumerate(givens):
            async with aclosing(store.update_many(given, {"n": str(number)})) as results:
                places += sorted([(one.index, one.blob) async for one in results], key=itemgetter(0))
            assert {str(number)} == {info.labels["n"] for info in (await store.infos([one, two, three])).values()}
        assert [*enumerate(blobs)] * 3 == places

        assert {*blobs} == {*await deleted(store, each(blobs))}
        assert set() == await left(store)

    async def test_a_walk_can_be_changed_and_deleted_while_it_goes_on(self, store: Store) -> None:
        digests = await kept(store, 150, kind="old")
        await keep(store, b"other", kind="new")

        found = await updated(store, store.walk("labels.kind==old"), {"kind": "older"})
        assert sorted(digests) == sorted(info.digest for info in found)
        assert set(digests) == {info.digest for info in await deleted(store, store.walk("labels.kind==older"))}
        assert {digest_of(b"other")} == await left(store)

    async def test_one_that_fails_does_not_stop_the_others(self, store: Store) -> None:
        for call in ("update_many", "delete_many"):
            digests = await kept(store, 3)
            blobs = [digests[0], ABSENT, "no digest", digests[1], digests[2]]
            arguments: tuple[Any, ...] = ({"a": "1"},) if call == "update_many" else ()
            async with aclosing(getattr(store, call)(blobs, *arguments, errors="yield")) as results:
                errors = {one.index: one.error async for one in results}
            kinds = [type(errors[place]) for place in range(5)]
            assert [type(None), NotFound, InvalidDigest, type(None), type(None)] == kinds

        assert set() == await left(store)

    async def test_the_errors_are_raised_at_the_end(self, store: Store) -> None:
        digest = await keep(store, b"data")
        with pytest.raises(ExceptionGroup) as caught:
            await updated(store, [ABSENT, digest, ABSENT], {"a": "1"})
        assert "update_many: 2 of 3 blobs failed" == caught.value.message
        assert all(isinstance(error, NotFound) for error in caught.value.exceptions)
        assert {"a": "1"} == (await store.info(digest)).labels

        with pytest.raises(ExceptionGroup, match="delete_many: 1 of 2 blobs failed") as caught:
            await deleted(store, [digest, ABSENT])
        assert [f"delete_many: blob 1: {ABSENT}"] == caught.value.exceptions[0].__notes__

    async def test_impossible_arguments_are_refused_at_once(self, store: Store) -> None:
        digest = await keep(store, b"data", a="1")
        labels: dict[str, Any]
        for labels in ({}, {"": "v"}, {"": None}, {"k": "v" * LABEL_LIMIT}):
            with pytest.raises(InvalidArgument if labels == {} else InvalidLabel):
                store.update_many([digest], labels)
        options: dict[str, Any]
        for options in ({"concurrency": 0}, {"errors": "ignore"}):
            with pytest.raises(InvalidArgument):
                store.update_many([digest], {"a": "2"}, **options)
            with pytest.raises(InvalidArgument):
                store.delete_many([digest], **options)
        assert {"a": "1"} == (await store.info(digest)).labels

    async def test_an_error_of_the_iterable_is_raised_after_the_changes_in_progress(self, store: Store) -> None:
        digests = await kept(store, 10)

        def broken() -> Iterator[Digest]:
            yield from digests
            raise LookupError("the list of blobs")

        with pytest.raises(LookupError):
            await updated(store, broken(), {"a": "1"})
        assert {"1"} == {info.labels["a"] for info in (await store.infos(digests)).values()}

    async def test_a_consumer_that_leaves_early_leaves_the_rest_alone(self, store: Store) -> None:
        digests = await kept(store, 100)
        taken = 0

        def blobs() -> Iterator[Digest]:
            nonlocal taken
            for digest in digests:
                taken += 1
                yield digest

        async with aclosing(store.delete_many(blobs(), concurrency=2)) as results:
            await anext(results)
        assert taken < 50
        assert set(digests[50:]) <= await left(store)

    @pytest.mark.parametrize("call", ["update_many", "delete_many"])
    async def test_a_cancelled_change_of_many_changes_each_completely_or_not_at_all(
        self, store: Store, call: str
    ) -> None:
        async def run(step: int) -> None:
            if call == "update_many":
                await updated(store, await kept(store, 3), {"a": str(step)}, concurrency=2)
            else:
                await deleted(store, await kept(store, 3, a="1"), concurrency=2)

        async for step in every_wait(run):
            async for info in store.walk():
                labels = dict(info.labels)
                assert labels == {"a": "1"} if call == "delete_many" else int(labels.get("a", "0")) <= step
        assert (await left(store) == set()) == (call == "delete_many")
