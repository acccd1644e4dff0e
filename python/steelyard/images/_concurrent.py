"""One function for many items, several at a time; the first failure is raised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from steelyard._runtime.scopes import task_group

__all__ = ("for_each",)

ItemT = TypeVar("ItemT")


async def for_each(items: Iterable[ItemT], function: Callable[[ItemT], Awaitable[object]], *, concurrency: int) -> None:
    """Call `function` with each of the items, at most `concurrency` at a time; the first failure cancels the rest."""
    failures: list[Exception] = []
    places = anyio.Semaphore(concurrency)

    async with task_group() as tasks:

        async def one(item: ItemT) -> None:
            try:
                await function(item)
            except Exception as error:  # noqa: BLE001  # raised below, by itself and not in a group
                failures.append(error)
                tasks.cancel_scope.cancel()
            finally:
                places.release()

        for item in items:
            await places.acquire()
            tasks.start_soon(one, item)
    if failures:
        raise failures[0]
