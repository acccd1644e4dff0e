"""The next item of an async iterator, which may be the user's, without a step at which Ctrl-C loses a coroutine.

Python looks for signals after every call of native code, so after ``anext(iterator)`` too: KeyboardInterrupt then drops the
coroutine that it returned, and Python warns that it "was never awaited". An ``async for`` has no such step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from steelyard._runtime.backend import interruptible

__all__ = ("next_item",)

ItemT = TypeVar("ItemT")


class _Rest(Generic[ItemT]):
    """The remaining items of an iterator. The iterator of a user may lack ``__aiter__``."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: AsyncIterator[ItemT]) -> None:
        self._iterator = iterator

    def __aiter__(self) -> AsyncIterator[ItemT]:
        return self._iterator


@interruptible
async def next_item(iterator: AsyncIterator[ItemT]) -> ItemT:
    """Return the next item, as ``await anext(iterator)`` does.

    Raises:
        StopAsyncIteration: there is none.
    """
    async for item in _Rest(iterator):
        return item
    raise StopAsyncIteration
