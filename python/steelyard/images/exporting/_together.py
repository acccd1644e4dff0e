"""Several things at once, of which the first failure is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

from steelyard._scopes import task_group

__all__ = ("together",)

ItemT = TypeVar("ItemT")


async def together(items: Iterable[ItemT], function: Callable[[ItemT], Awaitable[object]], *, concurrency: int) -> None:
    """Call `function` with each of the items, so many at a time; what fails first ends the others and is raised."""
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
