"""The queue of tasks that wait for a ref: in order, woken when the ref is freed, without polling.

A store refuses a held ref with Unavailable and knows nothing of waiting. `steelyard.transfer.open_writer` queues here.
For each ref the first task in the queue tries for it, and the others wait. Code that frees a ref calls `released`, which
wakes the first task to try again.

The tasks of a queue may run in several event loops, one in each thread: each task is woken in its own loop. If a loop ends
while its task is in the queue, the other tasks notice within a second and go on.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator
from threading import Lock
from weakref import WeakKeyDictionary

import anyio

from steelyard._runtime.backend import EventLoop, uninterrupted
from steelyard._runtime.scopes import managed

__all__ = ("RefQueue", "Waiter", "ref_queue", "share_queue")

_CHECK_SECONDS = 1.0
"""How often a waiting task checks whether the loop of the first one still runs."""


class Waiter:
    """A task in the queue for one ref. The first task in the queue may try to take the ref."""

    def __init__(self) -> None:
        self._loop = EventLoop()
        self._woken = anyio.Event()

    @property
    def alive(self) -> bool:
        """Whether the task's event loop runs; from any thread."""
        return self._loop.running

    def watch(self) -> None:
        """Begin to watch for a release. Call it before each attempt, so that no later release is missed."""
        if self._woken.is_set():
            self._woken = anyio.Event()

    async def wait_released(self) -> None:
        """Wait until the ref is freed, if it was not freed already since `watch`."""
        await self._woken.wait()

    def wake(self) -> None:
        """Wake the task; from any thread."""
        self._loop.try_call(self._wake)

    def _wake(self) -> None:
        self._woken.set()


class RefQueue:
    """The waiting tasks of one store, by ref. It holds nothing for a ref that no task waits for."""

    def __init__(self) -> None:
        self._waiters: dict[str, deque[Waiter]] = {}
        self._lock = Lock()

    @managed
    async def first(self, ref: str) -> AsyncIterator[Waiter]:
        """Wait until this task is the first in the queue for `ref`; it stays the first inside the ``async with``.

        Cancellation:
            Leaves the queue; the tasks after it move up.
        """
        waiter = Waiter()
        try:
            self._enter(ref, waiter)
            while not self._is_first(ref, waiter):
                with anyio.move_on_after(_CHECK_SECONDS):
                    await waiter.wait_released()
                waiter.watch()  # before the next check, so that no wake after it is missed
            yield waiter
        finally:
            self._leave(ref, waiter)

    def awaits(self, ref: str) -> bool:
        """Return whether a task waits for `ref`, or is about to try to take it. Any thread may call this.

        Code that frees a ref and asks afterwards misses no task: a task enters the queue before it tries.
        """
        return ref in self._waiters

    @uninterrupted
    def released(self, ref: str) -> None:
        """Notify the queue that `ref` was freed, by a commit, a close or an abort. Any thread may call this, afterwards."""
        if self.awaits(ref):
            with self._lock:
                waiters = self._waiters.get(ref)
                first = waiters[0] if waiters else None
            if first is not None:
                first.wake()

    def closed(self) -> None:
        """Notify the queue that the store was closed: all waiting tasks try again, one after the other, and are refused."""
        for ref in list(self._waiters):
            self.released(ref)

    @uninterrupted
    def _enter(self, ref: str, waiter: Waiter) -> None:
        with self._lock:
            self._waiters.setdefault(ref, deque()).append(waiter)

    @uninterrupted
    def _leave(self, ref: str, waiter: Waiter) -> None:
        """Remove a task from the queue, if it is in it, and wake the next task if this was the first."""
        following = None
        with self._lock:
            waiters = self._waiters.get(ref, deque())
            if waiter not in waiters:
                return
            was_first = waiters[0] is waiter
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[ref]
            elif was_first:
                following = waiters[0]
        if following is not None:
            following.wake()

    def _is_first(self, ref: str, waiter: Waiter) -> bool:
        """Return whether this task is the first in the queue. Remove a first task whose loop has ended."""
        with self._lock:
            waiters = self._waiters.get(ref, deque())
            first = waiters[0] if waiter in waiters else None
        if first is None:  # removed while its loop was stopped; now the loop runs again
            self._enter(ref, waiter)
            return self._is_first(ref, waiter)
        if first is waiter:
            return True
        if not first.alive:
            self._leave(ref, first)
            return self._is_first(ref, waiter)
        return False


_queues: WeakKeyDictionary[object, RefQueue] = WeakKeyDictionary()


def ref_queue(store: object) -> RefQueue:
    """Return the store's queue, which exists as long as the store. Any thread may call this."""
    queue = _queues.get(store)
    return _queues.setdefault(store, RefQueue()) if queue is None else queue


def share_queue(store: object, other: object) -> None:
    """Have a store share the queue of another one, because their refs are the same."""
    _queues[store] = ref_queue(other)


def _start_empty() -> None:
    # The waiting tasks belong to the parent, and a thread of the parent may have held the lock.
    for queue in list(_queues.values()):
        queue.__init__()  # type: ignore[misc]  # as new


os.register_at_fork(after_in_child=_start_empty)
