"""Events: which ones a subscriber gets, in which order, and what happens to a subscriber that is slow or leaves."""

from __future__ import annotations

from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import anyio
import pytest

from steelyard.content import Store
from steelyard.errors import InvalidArgument, InvalidFilter, NotFound
from steelyard.events import Event, Events
from steelyard.model import Descriptor, Labels
from steelyard.testing._leasing import expired
from steelyard.testing._values import digest_of, keep, now

__all__ = ("EventingContract",)

HOUR = timedelta(hours=1)
HANG = 60
"""Seconds after which a test that waits for an event has failed."""


async def take(events: Events, count: int) -> list[Event]:
    """Return the next events."""
    with anyio.fail_after(HANG):
        return [await anext(events) for _ in range(count)]


async def take_until(events: Events, text: str, store: Store) -> list[Event]:
    """Store a blob, and return the events before the event of this blob."""
    last = await keep(store, text.encode())
    found: list[Event] = []
    with anyio.fail_after(HANG):
        async for event in events:
            if event.digest == last:
                return found
            found.append(event)
    raise AssertionError("the events ended")


@pytest.mark.anyio
class EventingContract:
    """The rules of `steelyard.events`."""

    async def test_a_blob_that_is_stored_labelled_and_deleted_has_events(self, store: Store) -> None:
        before = now() - timedelta(seconds=1)
        async with store.events() as events:
            result = await store.put(b"data", labels={"k": "v"})
            await store.put(b"data")
            await store.update(await store.info(result.digest), "labels.none")
            await store.delete(result.digest)

            found = await take(events, 3)

        assert ["created", "labelled", "deleted"] == [event.type for event in found]
        assert {result.digest} == {event.digest for event in found}
        assert [4, 4, None] == [event.size for event in found]
        assert [{"k": "v"}, {"k": "v"}, {}] == [event.labels for event in found]
        assert [None, None, "deleted"] == [event.reason for event in found]
        assert all(before <= event.at <= now() + timedelta(seconds=1) for event in found)

    async def test_each_of_many_blobs_that_are_labelled_and_deleted_has_events(self, store: Store) -> None:
        many = [await keep(store, b"%d" % number) for number in range(40)]
        async with store.events("type==labelled", "type==deleted") as events:
            async with aclosing(
                store.update_many([*many, digest_of(b"absent")], {"k": "v"}, errors="yield")
            ) as changed:
                assert 40 == len([one async for one in changed if one.error is None])
            async with aclosing(store.delete_many(many)) as gone:
                assert 40 == len([one async for one in gone])
            found = await take(events, 80)

        assert sorted(many) == sorted(event.digest for event in found if event.type == "labelled" and event.digest)
        assert [{"k": "v"}] * 40 == [event.labels for event in found if event.type == "labelled"]
        assert sorted(many) == sorted(event.digest for event in found if event.reason == "deleted" and event.digest)

    async def test_each_way_to_store_a_blob_has_one_event(self, store: Store, tmp_path: Any) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"of a file")

        async def chunks() -> Any:
            yield b"of an "
            yield b"iterable"

        async with store.events("type==created") as events:
            await store.put(file)
            await store.put(chunks())
            await store.put(b"with a ref", ref="a")
            async with store.writer("b") as writer:
                await writer.write(b"of a writer")
                await writer.commit()
            many = [b"of many %d" % number for number in range(300)]
            async with aclosing(store.put_many([*many, file])) as results:
                async for _ in results:
                    pass

            found = await take_until(events, "last", store)

        stored = [b"of a file", b"of an iterable", b"with a ref", b"of a writer", *many]
        assert [digest_of(data) for data in stored[:4]] == [event.digest for event in found[:4]]
        assert sorted(map(digest_of, stored)) == sorted(event.digest for event in found if event.digest)
        assert len(stored) == len(found)

    async def test_a_call_that_fails_has_no_event(self, store: Store) -> None:
        absent = digest_of(b"absent")
        async with store.events() as events:
            with pytest.raises(Exception):  # noqa: B017, PT011  # each call has its own error, which other tests name
                await store.put(b"data", expected=absent)
            with pytest.raises(Exception):  # noqa: B017, PT011
                await store.delete(absent)
            with pytest.raises(Exception):  # noqa: B017, PT011
                await store.images.delete("absent")

            assert [] == await take_until(events, "last", store)

    async def test_image_names_have_events(self, store: Store) -> None:
        first, second = Descriptor(digest=digest_of(b"1"), size=1), Descriptor(digest=digest_of(b"2"), size=1)
        first, second = (Descriptor(digest=each.digest, size=1, media_type="text/plain") for each in (first, second))
        async with store.events("name==a") as events:
            await store.images.create("a", first, labels={"k": "v"})
            await store.images.create("b", first)
            await store.images.assign({"a": second}, overwrite=True)
            await store.images.assign({"a": second})
            image = await store.images.get("a")
            await store.images.update(image, "labels.k")
            await store.images.delete("a")

            found = await take(events, 4)

        assert ["name_set", "name_moved", "name_set", "name_removed"] == [event.type for event in found]
        assert [first.digest, second.digest, second.digest, second.digest] == [event.digest for event in found]
        assert [None, first.digest, second.digest, None] == [event.previous for event in found]
        assert {"a"} == {event.name for event in found}
        assert Labels({"k": "v"}) == found[0].labels

    async def test_leases_have_events(self, store: Store) -> None:
        async with store.events("lease") as events:
            await store.leases.create("a", expires=HOUR, labels={"k": "v"})
            await store.leases.delete("a")
            async with store.lease() as leased:
                own = leased.lease_id

            found = await take(events, 4)

        assert [("lease_begun", "a"), ("lease_ended", "a"), ("lease_begun", own), ("lease_ended", own)] == [
            (event.type, event.lease) for event in found
        ]
        assert Labels({"k": "v"}) == found[0].labels

    async def test_a_lease_that_expires_has_an_event_when_the_next_one_begins(self, store: Store) -> None:
        async with store.events("lease") as events:
            lease = await expired(store)
            await store.leases.create("a", expires=HOUR)
            await store.leases.delete("a")
            found = await take(events, 4)

        assert [("lease_begun", lease), ("lease_ended", lease), ("lease_begun", "a"), ("lease_ended", "a")] == [
            (event.type, event.lease) for event in found
        ]

    async def test_a_blob_stored_under_a_lease_has_an_event(self, store: Store) -> None:
        async with store.events("type==created") as events, store.lease() as leased:
            result = await leased.put(b"data")

            assert [result.digest] == [event.digest for event in await take(events, 1)]

    @pytest.mark.parametrize(
        "filters",
        [
            ("type==deleted,reason==deleted",),
            ("type~=^del",),
            ("type==labelled", "type==deleted"),
            (f"type!=created,digest=={digest_of(b'data')}",),
        ],
    )
    async def test_a_filter_chooses_events(self, store: Store, filters: tuple[str, ...]) -> None:
        async with store.events(*filters) as events:
            await store.put(b"other")
            await store.delete((await store.put(b"data")).digest)

            assert [("deleted", digest_of(b"data"))] == [(each.type, each.digest) for each in await take(events, 1)]

    async def test_labels_choose_events(self, store: Store) -> None:
        async with store.events("type==created,labels.k==v,size<5") as events:
            await store.put(b"1", labels={"k": "w"})
            await store.put(b"12345", labels={"k": "v"})
            wanted = await store.put(b"2", labels={"k": "v"})

            assert [wanted.digest] == [event.digest for event in await take(events, 1)]

    async def test_invalid_arguments_are_refused(self, store: Store) -> None:
        with pytest.raises(InvalidArgument):
            store.events(buffer=0)
        with pytest.raises(InvalidArgument):
            store.events(buffer=2**64)
        with pytest.raises(InvalidFilter):
            async with store.events("type=deleted"):
                pass
        with pytest.raises(InvalidFilter):
            await anext(store.events("type=deleted"))

    async def test_a_slow_subscriber_gets_the_number_of_events_it_missed(self, store: Store) -> None:
        data = [b"%d" % number for number in range(10)]
        async with store.events("type==created", buffer=3) as events:
            for each in data:
                await store.put(each)
            first = await take(events, 4)
            await store.put(b"afterwards")
            [then] = await take(events, 1)

        assert [*map(digest_of, data[:3]), None] == [event.digest for event in first]
        assert [0, 0, 0, 7] == [event.missed for event in first]
        assert ["created", "created", "created", "missed"] == [event.type for event in first]
        assert digest_of(b"afterwards") == then.digest

    async def test_events_that_no_filter_chooses_take_no_room(self, store: Store) -> None:
        async with store.events("type==deleted", buffer=1) as events:
            for number in range(10):
                await store.put(b"%d" % number)
            await store.delete(digest_of(b"3"))

            assert ["deleted"] == [event.type for event in await take(events, 1)]

    async def test_the_subscription_begins_with_the_first_call_of_anext(self, store: Store) -> None:
        events = store.events("type==created")
        await store.put(b"before")
        found: list[Event] = []

        async def read() -> None:
            found.extend(await take(events, 1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            number = 0
            while not found:  # until the task has subscribed
                await store.put(b"%d" % number)
                number += 1

        assert digest_of(b"before") != found[0].digest
        await events.aclose()

    async def test_every_subscriber_gets_every_event(self, store: Store) -> None:
        async with store.events() as first, store.events() as second:
            digest = (await store.put(b"data")).digest

            assert [digest] * 2 == [(await take(events, 1))[0].digest for events in (first, second)]

    async def test_a_wait_that_is_cancelled_loses_no_event(self, store: Store) -> None:
        async with store.events() as events:
            with anyio.move_on_after(0.01):
                await anext(events)
            digest = (await store.put(b"data")).digest
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(events)

            assert [digest] == [event.digest for event in await take(events, 1)]

    async def test_a_subscriber_that_leaves_gets_no_more_events(self, store: Store) -> None:
        async with store.events() as events:
            await store.put(b"data")
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        await events.aclose()

        cancelled = store.events()
        with anyio.move_on_after(0.01):
            await anext(cancelled)
        await store.put(b"more")
        with pytest.raises(StopAsyncIteration):
            await anext(cancelled)

    async def test_closing_the_iterator_ends_a_wait(self, store: Store) -> None:
        events = store.events()
        ended = anyio.Event()

        async def read() -> None:
            async for _ in events:
                pass
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await events.aclose()
            with anyio.fail_after(HANG):
                await ended.wait()

    async def test_events_of_one_blob_are_in_the_order_of_its_changes(self, store: Store) -> None:
        """Tasks store, label and delete a few blobs at the same time: each blob is created and deleted in turns."""
        data = [b"%d" % number for number in range(3)]

        async def change(number: int) -> None:
            for step in range(20):
                each = data[(number + step) % len(data)]
                await store.put(each)
                with suppress(NotFound):  # another task was faster
                    await store.delete(digest_of(each))

        async with store.events("type!=labelled", buffer=10_000) as events:
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(change, number)
            found = await take_until(events, "last", store)

        for each in data:
            types = [event.type for event in found if event.digest == digest_of(each)]
            assert ["created", "deleted"] * (len(types) // 2) == types
            assert types
