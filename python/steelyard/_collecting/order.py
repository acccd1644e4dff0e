"""The order in which garbage goes: a document before the blobs that it names, else the least recently used first."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from steelyard._collecting.marks import Graph
from steelyard._collecting.pace import Pace
from steelyard.digest import Digest

__all__ = ("Order",)


class Order:
    """Gives blobs in the order in which they go. Blobs that name each other in a cycle come together.

    Args:
        graph: what blobs name.
        pace: the pace of the task.
    """

    def __init__(self, graph: Graph, pace: Pace) -> None:
        self._graph = graph
        self._pace = pace
        self._left: dict[Digest, float] = {}  # with their last uses
        self._names: dict[Digest, set[Digest]] = {}
        self._parents: dict[Digest, set[Digest]] = {}
        self._waiting: dict[Digest, int] = {}
        self._ready: list[tuple[float, Digest]] = []
        self._oldest: Iterator[tuple[float, Digest]] | None = None

    def add(self, digest: Digest, used: float) -> None:
        """Add a blob with the time of its last use, before the others are given."""
        self._left[digest] = used

    async def link(self) -> None:
        """Find out which of the added blobs name each other."""
        async for digest in self._pace.each(self._left):
            names = set()
            async for each in self._pace.each(self._graph.named_by(digest)):
                if each in self._left and each != digest and each not in names:
                    names.add(each)
                    self._parents.setdefault(each, set()).add(digest)
                    self._waiting[each] = self._waiting.get(each, 0) + 1
            if names:
                self._names[digest] = names
        async for digest, used in self._pace.each(self._left.items()):
            if digest not in self._waiting:
                heappush(self._ready, (used, digest))

    @property
    def is_ready(self) -> bool:
        """Whether a blob can be given that no blob names which was given and not released."""
        return bool(self._ready)

    async def next(self) -> list[Digest]:
        """Give the blobs that go next: one, or those of a cycle. None are left if there are none."""
        if self._ready:
            group = [heappop(self._ready)[1]]
        elif self._left:
            group = await self._cycle()
        else:
            return []
        for digest in group:
            del self._left[digest]
        return group

    async def release(self, group: list[Digest]) -> None:
        """Let the blobs go that waited for those of a group, which were given."""
        for digest in group:
            async for each in self._pace.each(self._names.pop(digest, ())):
                self._waiting[each] -= 1
                if not self._waiting[each] and each in self._left:
                    heappush(self._ready, (self._left[each], each))

    async def _cycle(self) -> list[Digest]:
        """Return the least recently used blob and all that name it, directly or not: a cycle, and what leads to it."""
        if self._oldest is None:
            self._oldest = await self._pace.sort([(used, digest) for digest, used in self._left.items()])
        digest = next(digest for _, digest in self._oldest if digest in self._left)
        found = {digest: None}
        stack = [digest]
        while stack:
            async for above in self._pace.each(self._parents.get(stack.pop(), ())):
                if above in self._left and above not in found:
                    found[above] = None
                    stack.append(above)
        return list(reversed(found))
