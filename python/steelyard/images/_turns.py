"""Long work in parts, so that the event loop can go on between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ("parts",)

ItemT = TypeVar("ItemT")

TURN = 500
"""Items of which each takes some microseconds: a few milliseconds in all."""


def parts(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """Cut the items into parts, between which whoever works on them awaits something."""
    return (items[start : start + TURN] for start in range(0, len(items), TURN))
