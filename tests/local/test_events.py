"""Events of a LocalStore: which stores share them, what ends a subscription, and what one costs."""

from __future__ import annotations

import gc
import threading
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.descriptors import open_files
from support.forks import forked_run

from steelyard import DataCorrupt, Descriptor, FailedPrecondition, LocalStore, MemoryStore
from steelyard._runtime import calls
from steelyard.errors import Unsupported
from steelyard.events import Event, Events

pytestmark = pytest.mark.anyio

HANG = 60


async def take(events: Events, count: int) -> list[Event]:
    with anyio.fail_after(HANG):
        return [await anext(events) for _ in range(count)]


async def rest(events: Events) -> list[Event]:
    with anyio.fail_after(HANG):
        return [event async for event in events]


def opened(path: Path) -> LocalStore:
    return LocalStore(path, durability="process-crash")


async def test_stores_of_one_root_share_events_and_others_do_not(tmp_path: Path) -> None:
    first, second, other = opened(tmp_path / "a"), opened(tmp_path / "a"), opened(tmp_path / "b")
    async with first, second, other, first.events() as events:
        await other.put(b"other")
        digest = (await second.put(b"data")).digest
        await first.delete(digest)

        assert ["created", "deleted"] == [event.type for event in await take(events, 2)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", ["local", "memory"])
async def test_a_subscriber_may_run_in_another_event_loop(tmp_path: Path, kind: str, backend: str) -> None:
    begun = threading.Event()
    found: list[Event] = []

    async def read() -> None:
        async with store.events("type==created") as events:
            begun.set()
            found.extend(await take(events, 2))

    async with opened(tmp_path) if kind == "local" else MemoryStore() as store, anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, partial(anyio.run, read, backend=backend))
        await anyio.to_thread.run_sync(begun.wait, HANG)
        digests = [(await store.put(data)).digest for data in (b"1", b"2")]

    assert digests == [event.digest for event in found]


async def test_changes_by_the_blocking_core_have_events(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, store.events() as events:
        digest = (await store.put(b"data")).digest
        await anyio.to_thread.run_sync(store.direct().delete, digest)

        assert ["created", "deleted"] == [event.type for event in await take(events, 2)]


async def test_closing_the_store_ends_the_iteration_after_the_last_event(tmp_path: Path) -> None:
    store, other = opened(tmp_path), opened(tmp_path)
    await other.aopen()
    async with store:
        waiting, late = store.events(), store.events()
        await late.__aenter__()
        found: list[Event] = []

        async def read() -> None:
            found.extend(await rest(waiting))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            digest = (await store.put(b"data")).digest
            await store.aclose()
            await other.put(b"afterwards")

        assert [digest] == [event.digest for event in await rest(late)]
        assert [digest] == [event.digest for event in found]
        with pytest.raises(FailedPrecondition):
            await anext(store.events())
    await other.aclose()


async def test_a_store_that_is_open_read_only_has_no_events(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    async with LocalStore(tmp_path, read_only=True) as store:
        with pytest.raises(Unsupported):
            store.events()


async def test_a_damaged_blob_that_is_moved_aside_has_an_event(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, store.events("type==deleted") as events:
        digest = (await store.put(b"data")).digest
        file = await store.path_of(digest)
        file.chmod(0o644)
        file.write_bytes(b"atad")
        with pytest.raises(DataCorrupt):
            await store.verify(digest)

        [event] = await take(events, 1)

    assert (digest, "quarantined") == (event.digest, event.reason)


@pytest.mark.parametrize("kind", ["local", "memory"])
async def test_a_blob_that_is_collected_has_an_event(tmp_path: Path, kind: str) -> None:
    async with (
        opened(tmp_path) if kind == "local" else MemoryStore() as store,
        store.events("digest", "name") as events,
    ):
        kept, garbage = [(await store.put(data)).digest for data in (b"kept", b"garbage")]
        await store.images.create("kept", Descriptor(digest=kept, size=4))
        await store.collect(grace=timedelta(0))
        await store.put(b"garbage")

        found = [(event.type, event.digest, event.reason) for event in await take(events, 5)]

    assert [("deleted", garbage, "collected"), ("created", garbage, None)] == found[3:]


async def test_a_put_makes_as_many_hops_with_and_without_a_subscriber(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:

        async def hops(data: bytes) -> int:
            before = calls.counts()["hops"]
            await store.put(data)
            return calls.counts()["hops"] - before

        without = await hops(b"1")
        async with store.events("type==deleted"):
            of_others = await hops(b"2")
        async with store.events("type==created") as events:
            of_these = await hops(b"3")
            assert "created" == (await anext(events)).type

    assert [1, 1, 1] == [without, of_others, of_these]


async def leave_by_break(store: Any) -> None:
    async with anyio.create_task_group() as tasks:
        events = store.events()
        tasks.start_soon(keep_changing, store, tasks.cancel_scope)
        async for _ in events:
            break
        tasks.cancel_scope.cancel()


async def leave_by_cancellation(store: Any) -> None:
    with anyio.move_on_after(0.01):
        async for _ in store.events():
            pytest.fail("nothing changes")


async def leave_by_aclose(store: Any) -> None:
    events = store.events("type~=x")
    await events.__aenter__()
    await store.put(b"data")
    await events.aclose()


async def leave_by_an_error(store: Any) -> None:
    with suppress(ValueError):
        async with store.events():
            raise ValueError


async def keep_changing(store: Any, scope: anyio.CancelScope) -> None:
    number = 0
    while not scope.cancel_called:
        await store.put(b"change %d" % number)
        number += 1


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_cancellation, leave_by_aclose, leave_by_an_error])
async def test_a_subscriber_that_leaves_leaves_nothing(tmp_path: Path, leave: Any) -> None:
    memory = MemoryStore()
    async with opened(tmp_path) as store:
        native = store.direct().native
        await store.put(b"before")
        files = open_files(tmp_path)
        for each in (memory, store):
            await leave(each)
        gc.collect()

        assert (False, False) == (memory._events._native.active, native.subscribed)
        assert files == open_files(tmp_path)


async def test_a_child_of_a_fork_gets_no_events_and_its_parent_goes_on(tmp_path: Path) -> None:
    memory = MemoryStore()
    async with opened(tmp_path) as store, store.events() as events, memory.events() as of_memory:
        await store.put(b"before")

        async def child() -> list[str]:
            found = []
            for each in (events, of_memory):
                try:
                    await anext(each)
                except FailedPrecondition:
                    found.append("refused")
                await each.aclose()
            async with memory.events() as own:
                await memory.put(b"of the child")
                found += [event.type for event in await take(own, 1)]
            return found

        assert ["refused", "refused", "created"] == forked_run(child)

        await store.put(b"after")
        await memory.put(b"after")
        assert 2 == len(await take(events, 2))
        assert 1 == len(await take(of_memory, 1))


async def test_a_loop_that_ends_without_its_subscriber_disturbs_no_other(tmp_path: Path) -> None:
    """The loop of a thread ends while a subscriber of it is still referenced."""
    async with opened(tmp_path) as store:
        left: list[Events] = []

        async def subscribe() -> None:
            events = store.events()
            await events.__aenter__()
            left.append(events)

        thread = threading.Thread(target=partial(anyio.run, subscribe))
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        async with store.events() as events:
            await store.put(b"data")

            assert 1 == len(await take(events, 1))
        assert 1 == len(left)
