"""Long work that must not block the event loop: it runs on another thread, or is divided into short slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from steelyard._runtime.calls import run
from steelyard._runtime.chunks import slices

__all__ = ("few_inline", "off_loop", "short_slices")

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_INLINE_BYTES = 64 << 10
"""The most bytes of a document that are parsed in the event loop: this takes less than a millisecond."""

_INLINE_ITEMS = 100
"""The number of items that take a millisecond if each takes up to ten microseconds."""

_SLICE = 500
"""The number of items that take a few milliseconds if each takes some microseconds."""


def short_slices(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """Divide the items into slices. The caller awaits something between two slices."""
    return slices(items, _SLICE)


async def off_loop(size: int, work: Callable[[], ResultT]) -> ResultT:
    """Return the result of `work` on `size` bytes of documents, which runs on another thread unless they are few."""
    return work() if size <= _INLINE_BYTES else await run(work)


async def few_inline(count: int, work: Callable[[], ResultT]) -> ResultT:
    """Return the result of `work` on `count` items, which runs on another thread unless they are few."""
    return work() if count <= _INLINE_ITEMS else await run(work)
