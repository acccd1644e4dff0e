"""Dividing work into parts: a long sequence into slices, many items into batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

__all__ = ("Batch", "in_async_batches", "in_batches", "slices")

ItemT = TypeVar("ItemT")


class _Sliceable(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Any: ...


SequenceT = TypeVar("SequenceT", bound=_Sliceable)


def slices(items: SequenceT, most: int) -> Iterator[SequenceT]:
    """Cut a sequence, or the bytes of a buffer, into slices of at most `most` each."""
    return (items[start : start + most] for start in range(0, len(items), most))


class Batch(Generic[ItemT]):
    """Items that are processed together, bounded by number and by bytes.

    Args:
        most: the most items.
        most_bytes: the number of bytes that fills a batch; the last item may exceed it.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._items: list[ItemT] = []
        self._bytes = 0

    def add(self, item: ItemT, size: int) -> bool:
        """Add an item of `size` bytes, and return whether the batch is full."""
        self._items.append(item)
        self._bytes += size
        return len(self._items) >= self._most or self._bytes >= self._most_bytes

    def take(self) -> list[ItemT]:
        """Return the items of the batch, perhaps none, and begin the next batch."""
        taken, self._items, self._bytes = self._items, [], 0
        return taken


def in_batches(
    items: Iterable[ItemT], size_of: Callable[[ItemT], int], most: int, most_bytes: int
) -> Iterator[list[ItemT]]:
    """Iterate over the items in batches, bounded as a `Batch` is."""
    batch: Batch[ItemT] = Batch(most, most_bytes)
    for item in items:
        if batch.add(item, size_of(item)):
            yield batch.take()
    if rest := batch.take():
        yield rest


async def in_async_batches(
    items: AsyncGenerator[ItemT, None], size_of: Callable[[ItemT], int], most: int, most_bytes: int
) -> AsyncGenerator[list[ItemT], None]:
    """Iterate over the items of a generator in batches, bounded as a `Batch` is. The generator is closed."""
    batch: Batch[ItemT] = Batch(most, most_bytes)
    async with aclosing(items):
        async for item in items:
            if batch.add(item, size_of(item)):
                yield batch.take()
    if rest := batch.take():
        yield rest
