"""Requests that several tasks share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

__all__ = ("Shared",)

ResultT = TypeVar("ResultT")


class Shared(Generic[ResultT]):
    """Lets tasks that need the same result at about the same time share one call. It begins after each of them has asked.

    Args:
        look: the function that is called.
    """

    def __init__(self, look: Callable[[], Awaitable[ResultT]]) -> None:
        self._look = look
        self._lock = anyio.Lock()
        self._begun = 0
        self._latest: tuple[int, ResultT] | None = None

    async def __call__(self) -> ResultT:
        """Return the result of a call of `look` that began after this one.

        Cancellation:
            The tasks that wait call `look` themselves.
        """
        needed = self._begun + 1
        async with self._lock:
            if self._latest is not None and self._latest[0] >= needed:
                return self._latest[1]
            self._begun += 1
            number = self._begun
            result = await self._look()
            self._latest = (number, result)
            return result
