"""A cache in memory that keeps the most recently used values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ("LruCache",)

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class LruCache(Generic[KeyT, ValueT]):
    """Values by key, bounded by their weight. The least recently used values are dropped first.

    Args:
        most: the maximum total weight. A single value may weigh more; it is then the only value.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._values: OrderedDict[KeyT, tuple[ValueT, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def weight(self) -> int:
        """The weight of all values."""
        return self._weight

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value if the cache has it."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def add(self, key: KeyT, value: ValueT, weight: int = 1) -> None:
        """Add a value, or replace it."""
        if key in self._values:
            self._weight -= self._values.pop(key)[1]
        self._values[key] = value, weight
        self._weight += weight
        while self._weight > self._most and len(self._values) > 1:
            self._weight -= self._values.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Drop all values."""
        self._values.clear()
        self._weight = 0
