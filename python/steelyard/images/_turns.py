"""Long work in parts, so that the event loop can go on between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from steelyard._runtime.calls import run
from steelyard._runtime.chunks import slices

__all__ = ("INLINE", "aside", "parts")

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

INLINE = 64 << 10
"""Bytes of a document that the event loop can parse itself: less than a millisecond."""

TURN = 500
"""Items of which each takes some microseconds: a few milliseconds in all."""


def parts(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """Cut the items into parts, between which whoever works on them awaits something."""
    return slices(items, TURN)


async def aside(size: int, work: Callable[[], ResultT]) -> ResultT:
    """Return what `work` on so many bytes of documents gives; it is done off the event loop if it takes long."""
    return work() if size <= INLINE else await run(work)
