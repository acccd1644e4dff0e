"""Calls from a trio event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steelyard._native import Cancelled, Pool
from steelyard._runtime.backend import protect_imported
from steelyard._runtime.calls._loop import Loop

__all__ = ("TrioLoop",)


class TrioLoop(Loop):
    """A trio event loop. Its tickets are the tasks that wait."""

    def __init__(self, pool: Pool, waits: Pool) -> None:
        import outcome  # noqa: PLC0415  # as trio
        import trio  # noqa: PLC0415  # only a program that runs on trio has it

        self._lowlevel = trio.lowlevel
        self._value, self._error = outcome.Value, outcome.Error
        super().__init__(pool, waits)
        self._token = self._event_loop.reference

    def is_here(self) -> bool:
        protect_imported()
        try:
            self._lowlevel.current_task()
        except RuntimeError:
            return False
        return self._lowlevel.current_trio_token() is self._token()

    def _give(self, ticket: Any, value: Any, error: BaseException | None) -> None:
        # trio runs the delivery in a task of its own, which Ctrl-C does not interrupt: no task gets its result twice.
        self._lowlevel.reschedule(ticket, self._value(value) if error is None else self._error(error))

    async def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        cancel: Callable[[], object] | None = None,
        always: bool = False,
    ) -> Any:
        if not always:
            await self._lowlevel.checkpoint_if_cancelled()
        # From here on the task must wait: a call without a waiting caller would use resources that the caller has released, and trio
        # fails with an internal error when it wakes a task that does not wait. So KeyboardInterrupt is held back.
        task = self._lowlevel.current_task()
        cancelled: list[None] = []

        def not_now(_: object) -> Any:
            # Called for both KeyboardInterrupt and a cancellation. Both are raised at the task's next checkpoint.
            cancelled.append(None)
            if cancel is not None:
                cancel()
            self._cancel(function, task)
            return self._lowlevel.Abort.FAILED

        while True:
            self._port.submit(function, args, task)
            try:
                return await self._lowlevel.wait_task_rescheduled(not_now)
            except Cancelled:
                pass  # the call had no effect: the checkpoint below raises the cancellation
            finally:
                if cancelled:
                    self._forget(task)
            await self._lowlevel.checkpoint_if_cancelled()
