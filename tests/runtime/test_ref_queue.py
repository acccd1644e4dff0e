"""The queue for a held ref: first come, first served, no wake-up lost, nothing left behind."""

from __future__ import annotations

import asyncio
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from steelyard import LocalStore
from steelyard._runtime.refqueue import RefQueue, ref_queue
from steelyard.content import Writer, opening
from steelyard.errors import AlreadyExists, InvalidArgument, Unavailable
from steelyard.memory import MemoryStore
from steelyard.transfer import open_writer

pytestmark = pytest.mark.anyio


async def test_waiters_get_the_ref_in_the_order_in_which_they_came() -> None:
    store = MemoryStore()
    order: list[int] = []

    async def wait(number: int) -> None:
        async with open_writer(store, "ref") as writer:
            order.append(number)
            await checkpoint()
            await writer.write(bytes([number]))

    async with store.writer("ref") as held, anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
        assert [] == order
        await held.aclose()

    assert list(range(10)) == order
    assert 10 == (await store.status("ref")).offset


async def test_a_cancelled_waiter_leaves_the_queue_and_those_behind_move_up() -> None:
    store = MemoryStore()
    order: list[str] = []

    async def wait(name: str, scope: anyio.CancelScope) -> None:
        with scope:
            async with open_writer(store, "ref"):
                order.append(name)

    first, second, third = anyio.CancelScope(), anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        held = await store.writer("ref")
        for name, scope in (("first", first), ("second", second), ("third", third)):
            tasks.start_soon(wait, name, scope)
            await anyio.wait_all_tasks_blocked()
        first.cancel()
        second.cancel()
        await anyio.wait_all_tasks_blocked()
        assert [] == order
        await held.aclose()

    assert ["third"] == order
    assert not ref_queue(store)._waiters


@pytest.mark.parametrize("end", ["close", "commit", "abort"])
async def test_each_way_of_freeing_a_ref_wakes_the_waiter(end: str) -> None:
    store = MemoryStore()

    async with anyio.create_task_group() as tasks:
        held = await store.writer("ref")
        await held.write(b"held")

        async def wait() -> None:
            async with open_writer(store, "ref") as writer:
                assert (4 if end == "close" else 0) == writer.offset

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        if end == "close":
            await held.aclose()
        elif end == "commit":
            await held.commit()
        else:
            await store.abort("ref")


async def test_a_release_between_the_refusal_and_the_wait_is_not_missed() -> None:
    class Racing(MemoryStore):
        """Frees the ref at the very moment at which it is refused."""

        @opening
        async def writer(self, ref: str, **options: Any) -> Writer:
            try:
                return await super().writer(ref, **options)
            except Unavailable:
                await held.aclose()
                raise

    store = Racing()
    held = await MemoryStore.writer(store, "ref")
    with anyio.fail_after(30):
        await (await open_writer(store, "ref")).aclose()


async def test_a_holder_in_another_process_is_asked_again_without_a_notification() -> None:
    tries: list[float] = []

    class Elsewhere(MemoryStore):
        @opening
        async def writer(self, ref: str, **options: Any) -> Writer:
            tries.append(anyio.current_time())
            if len(tries) < 3:
                raise Unavailable(ref, holder="process 1")
            return await super().writer(ref, **options)

    await (await open_writer(Elsewhere(), "ref")).aclose()
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]

    assert 2 == len(pauses)
    assert pauses[0] >= 0.045
    assert pauses[1] >= 0.09


async def test_refs_do_not_wait_for_each_other() -> None:
    store = MemoryStore()
    async with store.writer("a"), open_writer(store, "b") as writer:
        assert "b" == writer.ref


async def test_errors_other_than_a_held_ref_end_the_wait() -> None:
    store = MemoryStore()
    digest = (await store.put(b"stored")).digest

    with pytest.raises(AlreadyExists):
        await open_writer(store, "ref", expected=digest)
    with pytest.raises(InvalidArgument):
        await open_writer(store, "")
    assert not ref_queue(store)._waiters


def test_a_store_has_one_queue_which_ends_with_it() -> None:
    first, second = MemoryStore(), MemoryStore()

    assert ref_queue(first) is ref_queue(first)
    assert ref_queue(first) is not ref_queue(second)


async def test_a_release_without_a_waiting_task_leaves_nothing() -> None:
    queue = RefQueue()
    queue.released("ref")
    async with queue.first("ref"):
        assert ["ref"] == list(queue._waiters)

    assert not queue._waiters


@pytest.mark.slow
async def test_a_local_holder_that_ends_unheard_delays_the_waiter_but_does_not_hang_it() -> None:
    class Unheard(MemoryStore):
        refused = False

        @opening
        async def writer(self, ref: str, **options: Any) -> Writer:
            if not self.refused:
                self.refused = True
                raise Unavailable(ref, local=True)
            return await super().writer(ref, **options)

    with anyio.fail_after(30):
        await (await open_writer(Unheard(), "ref")).aclose()


def test_tasks_of_several_loops_get_the_ref_one_after_the_other(tmp_path: Path) -> None:
    """Three loops in three threads, one store: each waiter is woken in its own loop."""
    store = LocalStore(tmp_path, durability="process-crash")
    rounds = 20
    inside: list[int] = []
    committed: list[int] = []

    async def work(number: int) -> None:
        for _ in range(rounds):
            async with open_writer(store, "ref") as writer:
                inside.append(number)
                assert inside == [number]
                await writer.write(os.urandom(100))
                inside.clear()
                await writer.commit()
            committed.append(number)

    anyio.run(store.aopen)
    backends = ("asyncio", "trio", "asyncio")
    jobs = [partial(anyio.run, work, number, backend=name) for number, name in enumerate(backends)]
    threads = [Thread(target=job, daemon=True) for job in jobs]  # one that hangs does not hold up the other tests
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    anyio.run(store.aclose)

    assert len(committed) == rounds * len(backends)
    assert not ref_queue(store)._waiters


def test_a_loop_that_stops_in_the_queue_does_not_hold_up_the_others() -> None:
    store = MemoryStore()
    held = anyio.run(store.writer, "ref")
    stopped = asyncio.new_event_loop()
    first = stopped.create_task(open_writer(store, "ref"))
    for _ in range(100):  # far more steps than it takes to wait; no thread has a part in them
        stopped.run_until_complete(asyncio.sleep(0))
    assert ref_queue(store).awaits("ref")

    async def second() -> None:
        await held.aclose()
        with anyio.fail_after(30):
            await (await open_writer(store, "ref")).aclose()

    anyio.run(second)
    # It runs again, and finds its place again.
    writer = stopped.run_until_complete(first)
    stopped.run_until_complete(writer.aclose())
    stopped.close()

    assert not ref_queue(store)._waiters


def test_all_threads_find_the_same_queue() -> None:
    for _ in range(50):
        store = MemoryStore()
        with ThreadPoolExecutor(4) as threads:
            found = set(threads.map(ref_queue, [store] * 8))
        assert len(found) == 1
