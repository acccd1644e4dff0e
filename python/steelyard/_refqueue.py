"""The queue of tasks that wait for a ref: in order, woken when the ref is freed, without polling.

A store refuses a held ref with Unavailable and knows nothing of waiting. `steelyard.transfer.open_writer` queues here:
at any time one task per ref, the first that came, has its **turn** to try; the others stand behind it. Whoever frees a
ref says so with `released`, and the one whose turn it is tries again.

A store, and so its queue, belongs to one event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

import anyio

__all__ = ("RefQueue", "Turn", "ref_queue")


class Turn:
    """The right to try for one ref; one task at a time has it."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()  # hands itself over in the order of arrival, on both backends
        self.tasks = 0
        self.release = anyio.Event()

    def watch(self) -> None:
        """Begin to watch for a release. Called before each try, so that none after it is missed."""
        if self.release.is_set():
            self.release = anyio.Event()

    async def wait_released(self) -> None:
        """Wait until the ref was freed after `watch`; that may have happened already."""
        await self.release.wait()


class RefQueue:
    """The waiting tasks of one store, by ref. It holds nothing for a ref that nobody waits for."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}

    @asynccontextmanager
    async def turn(self, ref: str) -> AsyncIterator[Turn]:
        """Wait for this task's turn to try for `ref`, and have it inside the ``async with``.

        Cancellation:
            Leaves the queue; those behind move up.
        """
        turn = self._turns.setdefault(ref, Turn())
        turn.tasks += 1
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.tasks -= 1
            if not turn.tasks:
                del self._turns[ref]

    def awaits(self, ref: str) -> bool:
        """Return whether anybody waits for `ref`, or is about to try for it; from any thread.

        Who frees a ref and asks afterwards misses nobody: a task stands here before it tries.
        """
        return ref in self._turns

    def released(self, ref: str) -> None:
        """Say that `ref` was freed, by a commit, a close or an abort; in the event loop's thread, after the fact."""
        turn = self._turns.get(ref)
        if turn is not None:
            turn.release.set()


_queues: WeakKeyDictionary[object, RefQueue] = WeakKeyDictionary()


def ref_queue(store: object) -> RefQueue:
    """Return the store's queue; it lives as long as the store does."""
    queue = _queues.get(store)
    if queue is None:
        queue = _queues[store] = RefQueue()
    return queue
