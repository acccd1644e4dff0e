"""Calls on threads: their results, and the state that is left when loops, tasks and processes end."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable

import anyio
import pytest

from steelyard._runtime import calls
from steelyard._runtime.calls import run

pytestmark = pytest.mark.anyio

HANG_SECONDS = 30


def ended(wait: Callable[[], bool]) -> bool:
    """Wait until something has ended; it is polled from outside the loops under test."""
    deadline = time.monotonic() + HANG_SECONDS
    while not wait() and time.monotonic() < deadline:
        time.sleep(0.01)
    return wait()


async def hop(function: Callable[[], object]) -> None:
    await run(function)


class Gate:
    """A call that lasts until it is let go, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.finished = threading.Event()

    def call(self) -> str:
        self.begun.set()
        assert self.go.wait(30)
        self.finished.set()
        return "done"

    def open_soon(self) -> None:
        threading.Timer(0.05, self.go.set).start()


async def test_a_call_returns_its_result() -> None:
    assert await run(divmod, 7, 3) == (2, 1)


async def test_a_call_raises_what_it_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await run(divmod, 1, 0)


async def test_an_error_keeps_nothing_alive() -> None:
    """The frames of an error that was handled hold no cycle: what the call had is gone without the collector."""

    class Thing:
        pass

    gone = threading.Event()

    class Noticed(Thing):
        def __del__(self) -> None:
            gone.set()

    gc.disable()
    try:
        with pytest.raises(TypeError):
            await run(float, Noticed())  # type: ignore[arg-type]  # that is the point
        await run(int)
    finally:
        gc.enable()

    assert gone.is_set()


async def test_a_call_runs_in_another_thread() -> None:
    assert await run(threading.get_ident) != threading.get_ident()


async def test_a_caller_cancelled_before_starts_nothing() -> None:
    begun: list[int] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run(begun.append, 1)

    assert scope.cancelled_caught
    assert begun == []


async def test_a_caller_cancelled_meanwhile_gets_the_result_and_then_the_cancellation() -> None:
    gate, results = Gate(), []

    async def caller() -> None:
        results.append(await run(gate.call))
        await anyio.lowlevel.checkpoint()
        results.append("not cancelled")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller)
        assert await run(gate.begun.wait, HANG_SECONDS)
        tasks.cancel_scope.cancel()
        gate.open_soon()

    assert results == ["done"]


async def test_a_deadline_does_not_abandon_a_call() -> None:
    gate = Gate()
    gate.open_soon()
    with anyio.move_on_after(0.01):
        await run(gate.call)

    assert gate.finished.is_set()


async def test_many_callers_all_get_their_own_result() -> None:
    results: dict[int, int] = {}

    async def caller(number: int) -> None:
        results[number] = await run(pow, number, 2)

    async with anyio.create_task_group() as tasks:
        for number in range(500):
            tasks.start_soon(caller, number)

    assert results == {number: number**2 for number in range(500)}


async def test_a_burst_of_calls_wakes_the_loop_and_the_threads_a_few_times_only() -> None:
    """There is no wake of the loop for each call, and none of a thread."""
    await run(int)
    before = calls.counts()
    async with anyio.create_task_group() as tasks:
        for _ in range(256):
            tasks.start_soon(hop, int)
    after = calls.counts()
    grown = {name: after[name] - before[name] for name in before}

    assert grown["hops"] == 256
    assert grown["wakes"] <= 32
    assert grown["starts"] + grown["calls"] <= 32


async def test_calls_that_block_are_all_under_way_at_once() -> None:
    """Each waits for all others: with one thread less it would never end."""
    barrier = threading.Barrier(calls.THREADS, timeout=30)
    async with anyio.create_task_group() as tasks:
        for _ in range(calls.THREADS):
            tasks.start_soon(hop, barrier.wait)

    assert not barrier.broken


async def test_a_call_that_blocks_delays_neither_later_calls_nor_earlier_results() -> None:
    gate, short_ones = Gate(), anyio.Semaphore(0)

    async def short() -> None:
        await run(int)
        short_ones.release()

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(hop, gate.call)
            for _ in range(4):
                tasks.start_soon(short)
        with anyio.fail_after(30):
            for _ in range(16):
                await short_ones.acquire()
        still_blocked = not gate.finished.is_set()
        gate.go.set()

    assert still_blocked


async def test_threads_end_after_the_last_call() -> None:
    """They wait for another one for 0.7 s; a busy machine makes that longer."""
    assert await run(calls.threads) >= 1

    assert await anyio.to_thread.run_sync(ended, lambda: calls.threads() == 0)


async def test_there_are_never_more_threads_than_allowed() -> None:
    gate = Gate()
    async with anyio.create_task_group() as tasks:
        for _ in range(calls.THREADS + 10):
            tasks.start_soon(hop, gate.call)
        await run_when_full()
        most = calls.threads()
        gate.go.set()

    assert most == calls.THREADS


async def run_when_full() -> None:
    with anyio.fail_after(30):
        while calls.threads() < calls.THREADS:
            await anyio.lowlevel.checkpoint()


def test_asyncio_raises_its_own_cancellation_after_the_call() -> None:
    """`Task.cancel` is said once; it would be lost if the result were returned in its place."""
    gate = Gate()

    async def main() -> None:
        task = asyncio.create_task(run(gate.call))
        await asyncio.to_thread(gate.begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        gate.open_soon()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.finished.is_set()

    asyncio.run(main())


def test_asyncio_cancelling_a_call_closes_what_it_opened() -> None:
    """The caller does not get the result, so no code could close it."""
    gate, closed = Gate(), threading.Event()

    class Opened:
        def close(self) -> None:
            closed.set()

    def open_something() -> Opened:
        gate.call()
        return Opened()

    async def main() -> None:
        task = asyncio.create_task(run(open_something))
        await asyncio.to_thread(gate.begun.wait)
        task.cancel()
        gate.open_soon()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert closed.is_set()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_loops_in_several_threads_share_the_pool(backend: str) -> None:
    results: list[list[int]] = []

    async def main() -> None:
        results.append([await run(abs, -number) for number in range(100)])

    threads = [threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": backend}) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [list(range(100))] * 4


def test_a_loop_closed_under_a_call_leaves_it_to_end_alone() -> None:
    gate = Gate()
    loop = asyncio.new_event_loop()
    task = loop.create_task(run(gate.call))
    loop.run_until_complete(asyncio.sleep(0.05))
    assert gate.begun.wait(30)
    loop.close()
    gate.go.set()

    assert gate.finished.wait(30)
    assert ended(lambda: calls.threads() == 0)
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # a loop that was closed under it: that is the point
    del task
    assert anyio.run(run, abs, -1) == 1


def test_a_loop_that_has_ended_is_not_kept_alive() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(run(int))
    loop.close()
    alive = weakref.ref(loop)
    del loop
    gc.collect()

    assert alive() is None


def test_a_call_that_asyncio_cancels_again_and_again_drops_its_result() -> None:
    """Each cancellation takes away the future that waits; the result finds no wrong one."""
    gate, others = Gate(), []

    async def main() -> None:
        task = asyncio.create_task(run(gate.call))
        await asyncio.to_thread(gate.begun.wait)
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0)
            others.append(await run(abs, -1))
        assert not task.done()
        gate.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert others == [1] * 5


def test_a_trio_guest_and_its_host_each_hear_of_their_own() -> None:
    trio = pytest.importorskip("trio")
    results: list[int] = []

    async def guest() -> None:
        results.extend([await run(abs, -number) for number in range(50)])

    async def main() -> None:
        ended: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=asyncio.get_running_loop().call_soon_threadsafe,
            done_callback=ended.set_result,
        )
        host = [await run(abs, -number) for number in range(50)]
        (await ended).unwrap()  # type: ignore[attr-defined]
        assert host == list(range(50))

    asyncio.run(main())

    assert results == list(range(50))


def test_a_fork_begins_with_an_empty_pool() -> None:
    gate = Gate()
    thread = threading.Thread(target=anyio.run, args=(run, gate.call))
    thread.start()
    assert gate.begun.wait(30)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if anyio.run(run, abs, -1) == 1 else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    gate.go.set()
    thread.join()

    assert os.waitstatus_to_exitcode(status) == 0


def test_the_end_of_the_process_waits_for_a_call() -> None:
    program = """
import asyncio, sys, threading, time
from steelyard._runtime.calls import run
begun = threading.Event()
def call():
    begun.set()
    time.sleep(0.3)
    print("finished", flush=True)
loop = asyncio.new_event_loop()
task = loop.create_task(run(call))
loop.run_until_complete(asyncio.sleep(0.05))
begun.wait()
sys.exit(3)
"""
    ended_process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )

    assert ended_process.returncode == 3
    assert ended_process.stdout == "finished\n"
