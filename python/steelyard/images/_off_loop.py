"""Long work that must not hold up the event loop: it goes to another thread, or is cut into short slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from steelyard._runtime.calls import run
from steelyard._runtime.chunks import slices

__all__ = ("few_inline", "off_loop", "short_slices")

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_INLINE_BYTES = 64 << 10
"""Bytes of a document that the event loop can parse itself: less than a millisecond."""

_INLINE_ITEMS = 100
"""Items that take up to ten microseconds each: a millisecond in all."""

_SLICE = 500
"""Items that take some microseconds each: a few milliseconds in all."""


def short_slices(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """Cut the items into slices; the caller awaits something between two of them."""
    return slices(items, _SLICE)


async def off_loop(size: int, work: Callable[[], ResultT]) -> ResultT:
    """Return the result of `work` on `size` bytes of documents, which runs on another thread unless they are few."""
    return work() if size <= _INLINE_BYTES else await run(work)


async def few_inline(count: int, work: Callable[[], ResultT]) -> ResultT:
    """Return the result of `work` on `count` items, which runs on another thread unless they are few."""
    return work() if count <= _INLINE_ITEMS else await run(work)
