"""Cancels an operation at each of its waits in turn, or performs an action there."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any

from anyio import CancelScope

__all__ = ("act_at", "cancel_at", "every_wait")


class _Counted(Awaitable[None]):
    """Runs a coroutine inside the current task, counts its waits, and performs an action at the `step`-th one.

    `at` is called when the coroutine begins that wait. `after` is awaited in the same task when the wait has ended, before the coroutine
    continues.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, object],
        step: int,
        at: Callable[[], object] | None = None,
        after: Callable[[], Coroutine[Any, Any, object]] | None = None,
    ) -> None:
        self._coroutine = coroutine
        self._step = step
        self._at = at
        self._after = after
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, None]:
        """Pass each value that the coroutine yields to the event loop, and pass results and errors back to the coroutine."""
        resume: Callable[[], Any] = partial(self._coroutine.send, None)
        try:
            while True:
                trap = resume()
                self.steps += 1
                if self.steps == self._step and self._at is not None:
                    self._at()
                try:
                    value = yield trap
                except BaseException as error:  # noqa: BLE001  # the coroutine gets it
                    resume = partial(self._coroutine.throw, error)
                else:
                    resume = partial(self._coroutine.send, value)
                    if self.steps == self._step and self._after is not None:
                        yield from self._after().__await__()
        except StopIteration:
            return


async def cancel_at(step: int, operation: Callable[[], Coroutine[Any, Any, object]]) -> bool:
    """Run the operation in a scope that is cancelled at its `step`-th wait; return whether the operation ended before that wait.

    This works on asyncio and trio, because on both a wait is a value that the coroutine yields.

    Args:
        step: the number of the wait, from 1.
        operation: called once; its coroutine is the operation.
    """
    with CancelScope() as scope:
        counted = _Counted(operation(), step, scope.cancel)
        await counted
    return counted.steps < step


async def act_at(
    step: int, operation: Coroutine[Any, Any, object], act: Callable[[], Coroutine[Any, Any, object]]
) -> bool:
    """Run the operation, and the action in the same task after its `step`-th wait; return whether the operation ended before that wait.

    Args:
        step: the number of the wait, from 1.
        operation: the operation.
        act: called at most once; its coroutine is the action.
    """
    counted = _Counted(operation, step, after=act)
    await counted
    return counted.steps < step


async def every_wait(operation: Callable[[int], Coroutine[Any, Any, object]]) -> AsyncIterator[int]:
    """Run the operation repeatedly, cancelled at its first wait, its second wait and so on, until a run ends without a cancellation.

    Yield the number of each run, from 1, so that the caller can check the state that the run left. The last run is not cancelled.

    Args:
        operation: called with the number of the run.
    """
    for step in itertools.count(1):
        untouched = await cancel_at(step, partial(operation, step))
        yield step
        if untouched:
            return
