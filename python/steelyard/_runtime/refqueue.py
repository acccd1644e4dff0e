"""The queue of tasks that wait for a ref: in order, woken when the ref is freed, without polling.

A store refuses a held ref with Unavailable and knows nothing of waiting. `steelyard.transfer.open_writer` queues here:
at any time one task per ref, the first that came, has its **turn** to try; the others stand behind it. Whoever frees a
ref says so with `released`, and the one whose turn it is tries again.

The tasks of a queue may run in several event loops, one in each thread: each is woken in its own. A loop that has ended
with a task still in the queue does not hold up the others: they look for that once a second.
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

__all__ = ("RefQueue", "Turn", "ref_queue")

_LOOK_SECONDS = 1.0
"""How often a task that waits for its turn looks whether the loop of the one before it still runs."""


class Turn:
    """A task's place in the queue for one ref. The first has the right to try for it."""

    def __init__(self) -> None:
        self._loop = EventLoop()
        self._woken = anyio.Event()

    @property
    def alive(self) -> bool:
        """Whether the task's event loop runs; from any thread."""
        return self._loop.running

    def watch(self) -> None:
        """Begin to watch for a release. Called before each try, so that none after it is missed."""
        if self._woken.is_set():
            self._woken = anyio.Event()

    async def wait_released(self) -> None:
        """Wait until the ref was freed after `watch`; that may have happened already."""
        await self._woken.wait()

    def wake(self) -> None:
        """Wake the task; from any thread."""
        self._loop.try_call(self._wake)

    def _wake(self) -> None:
        self._woken.set()


class RefQueue:
    """The waiting tasks of one store, by ref. It holds nothing for a ref that nobody waits for."""

    def __init__(self) -> None:
        self._turns: dict[str, deque[Turn]] = {}
        self._lock = Lock()

    @managed
    async def turn(self, ref: str) -> AsyncIterator[Turn]:
        """Wait for this task's turn to try for `ref`, and have it inside the ``async with``.

        Cancellation:
            Leaves the queue; those behind move up.
        """
        turn = Turn()
        try:
            self._enter(ref, turn)
            while not self._is_first(ref, turn):
                with anyio.move_on_after(_LOOK_SECONDS):
                    await turn.wait_released()
                turn.watch()  # before the next look, so that no wake after it is missed
            yield turn
        finally:
            self._leave(ref, turn)

    def awaits(self, ref: str) -> bool:
        """Return whether anybody waits for `ref`, or is about to try for it; from any thread.

        Who frees a ref and asks afterwards misses nobody: a task stands here before it tries.
        """
        return ref in self._turns

    @uninterrupted
    def released(self, ref: str) -> None:
        """Say that `ref` was freed, by a commit, a close or an abort; from any thread, after the fact."""
        if self.awaits(ref):
            with self._lock:
                turns = self._turns.get(ref)
                first = turns[0] if turns else None
            if first is not None:
                first.wake()

    def closed(self) -> None:
        """Say that the store was closed: all who wait try again, one after the other, and are refused."""
        for ref in list(self._turns):
            self.released(ref)

    @uninterrupted
    def _enter(self, ref: str, turn: Turn) -> None:
        with self._lock:
            self._turns.setdefault(ref, deque()).append(turn)

    @uninterrupted
    def _leave(self, ref: str, turn: Turn) -> None:
        """Take a task out of the queue, if it is there, and wake the next when it was the first."""
        following = None
        with self._lock:
            turns = self._turns.get(ref, deque())
            if turn not in turns:
                return
            was_first = turns[0] is turn
            turns.remove(turn)
            if not turns:
                del self._turns[ref]
            elif was_first:
                following = turns[0]
        if following is not None:
            following.wake()

    def _is_first(self, ref: str, turn: Turn) -> bool:
        """Return whether it is this task's turn; one before it whose loop has ended is passed over."""
        with self._lock:
            turns = self._turns.get(ref, deque())
            first = turns[0] if turn in turns else None
        if first is None:  # passed over, in a loop that stood still and runs again
            self._enter(ref, turn)
            return self._is_first(ref, turn)
        if first is turn:
            return True
        if not first.alive:
            self._leave(ref, first)
            return self._is_first(ref, turn)
        return False


_queues: WeakKeyDictionary[object, RefQueue] = WeakKeyDictionary()


def ref_queue(store: object) -> RefQueue:
    """Return the store's queue; it lives as long as the store does. Any thread may ask."""
    queue = _queues.get(store)
    return _queues.setdefault(store, RefQueue()) if queue is None else queue


def _begin_anew() -> None:
    # Those who wait are the parent's, and perhaps a thread of the parent's held the lock.
    for queue in list(_queues.values()):
        queue.__init__()  # type: ignore[misc]  # as new


os.register_at_fork(after_in_child=_begin_anew)
