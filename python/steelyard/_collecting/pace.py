"""Long work in bounded steps: the event loop runs other tasks after each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from heapq import merge
from typing import Any, Generic, TypeVar

from anyio.lowlevel import checkpoint

from steelyard._runtime.chunks import slices

__all__ = ("Pace",)

_STEP = 64
"""The units of work in a step. A unit is a blob, a reference, a root, or a KiB of a document."""

_SORTED_AT_ONCE = 1024
"""Texts or pairs that are sorted in one step: this costs about as much as a step."""

ItemT = TypeVar("ItemT")


class Pace:
    """Counts the work of a task, and lets the event loop run other tasks after each step."""

    def __init__(self) -> None:
        self._left = _STEP

    def count(self, work: int = 1) -> None:
        """Count work."""
        self._left -= work

    async def pause(self) -> None:
        """Let other tasks run, if the step is full."""
        if self._left <= 0:
            self._left = _STEP
            await checkpoint()

    def each(self, items: Iterable[ItemT]) -> AsyncIterator[ItemT]:
        """Iterate over items, and count each as a unit of work. Other tasks may run before an item is returned, never after.

        If other tasks change the collection meanwhile, pass a copy. A copy costs little, even of a million items.
        """
        return _Paced(self, iter(items))

    async def sort(self, items: Sequence[Any]) -> Iterator[Any]:
        """Return the items in order. They are compared without a key function."""
        parts = []
        async for some in self.each(slices(items, _SORTED_AT_ONCE)):
            parts.append(sorted(some))
            self.count(_STEP)
        return merge(*parts)


class _Paced(Generic[ItemT]):
    """An iterator instead of an async generator: a loop may stop at any item, and nothing has to be closed."""

    def __init__(self, pace: Pace, items: Iterator[ItemT]) -> None:
        self._pace, self._items = pace, items

    def __aiter__(self) -> AsyncIterator[ItemT]:
        return self

    async def __anext__(self) -> ItemT:
        for item in self._items:
            self._pace.count()
            await self._pace.pause()
            return item
        raise StopAsyncIteration
