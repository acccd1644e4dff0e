"""The next item of an async iterator, without a step at which Ctrl-C leaves a coroutine that nobody awaits.

Python looks for signals after every call of native code, so after ``anext(iterator)`` too: KeyboardInterrupt then drops the
coroutine that it returned, and Python warns that it "was never awaited". The same holds for a coroutine function that is
called with ``*args``. An ``async for`` makes and awaits the coroutine without such a step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

__all__ = ("next_item",)

ItemT = TypeVar("ItemT")


class _Rest(Generic[ItemT]):
    """What an iterator still gives. The iterator of a user may lack ``__aiter__``."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: AsyncIterator[ItemT]) -> None:
        self._iterator = iterator

    def __aiter__(self) -> AsyncIterator[ItemT]:
        return self._iterator


async def next_item(iterator: AsyncIterator[ItemT]) -> ItemT:
    """Return the next item, as ``await anext(iterator)`` does.

    Raises:
        StopAsyncIteration: there is none.
    """
    async for item in _Rest(iterator):
        return item
    raise StopAsyncIteration
