"""Async iterators: the next item, without a step at which Ctrl-C loses a coroutine, and a base class for iterators that are not generators.

Python looks for signals after every call of native code, so after ``anext(iterator)`` too: KeyboardInterrupt then drops the
coroutine that it returned, and Python warns that it "was never awaited". An ``async for`` has no such step.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Generic, TypeVar

from steelyard._runtime.backend import interruptible

__all__ = ("Iteration", "next_item")

ItemT = TypeVar("ItemT")


class Iteration(AsyncGenerator[ItemT, None]):
    """An iterator with the methods of an async generator, for `contextlib.aclosing` and type checkers. A subclass has `__anext__` and `aclose`.

    Dropping it also drops the iterator below it, at once. The event loop would close an async generator of Python later.
    """

    async def asend(self, value: None) -> ItemT:
        """Return the next item; the value is not used."""
        del value
        return await self.__anext__()

    async def athrow(self, *error: Any) -> ItemT:
        """Stop, and raise the error in the consumer."""
        await self.aclose()
        raise error[-1] if isinstance(error[-1], BaseException) else error[0]


class _Rest(Generic[ItemT]):
    """The remaining items of an iterator. A user's iterator may lack ``__aiter__``."""

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
