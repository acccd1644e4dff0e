"""The least that a call to another thread takes: one thread, one queue, one wake of the loop for each answer."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from queue import SimpleQueue

from steelyard_bench._inside import on_asyncio, start

__all__ = ("Ask", "bare_thread")

Ask = Callable[[], Awaitable[None]]
"""Asks the thread and waits for its answer; what is in between is nothing."""

Answer = Callable[[], object]


@asynccontextmanager
async def bare_thread() -> AsyncIterator[Ask]:
    """Run a thread that answers questions of the loop that this is called on.

    It leaves out what a call for another caller needs: a function and its result, errors, cancellation, a second caller.
    """
    questions: SimpleQueue[Answer | None] = SimpleQueue()

    def answer() -> None:
        while (question := questions.get()) is not None:
            question()

    thread = threading.Thread(target=answer, name="steelyard-bench-bare", daemon=True)
    start(thread)
    try:
        yield _asyncio(questions) if on_asyncio() else _trio(questions)
    finally:
        questions.put(None)
        thread.join()


def _asyncio(questions: SimpleQueue[Answer | None]) -> Ask:
    import asyncio  # noqa: PLC0415 - only where it runs

    loop = asyncio.get_running_loop()

    async def ask() -> None:
        future = loop.create_future()
        questions.put(lambda: loop.call_soon_threadsafe(future.set_result, None))
        await future

    return ask


def _trio(questions: SimpleQueue[Answer | None]) -> Ask:
    import trio  # noqa: PLC0415 - only where it runs

    token = trio.lowlevel.current_trio_token()

    def abort(_: object) -> trio.lowlevel.Abort:
        return trio.lowlevel.Abort.FAILED

    async def ask() -> None:
        task = trio.lowlevel.current_task()
        questions.put(lambda: token.run_sync_soon(trio.lowlevel.reschedule, task))
        await trio.lowlevel.wait_task_rescheduled(abort)

    return ask
