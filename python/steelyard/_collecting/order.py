"""The order in which garbage is removed: a document before the blobs that it names, otherwise the least recently used blob first."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from steelyard._collecting.marks import Graph
from steelyard._collecting.pace import Pace
from steelyard.digest import Digest

__all__ = ("Order",)


class Order:
    """Returns blobs in the order of their removal. Blobs that name each other in a cycle are returned together.

    Args:
        graph: the references of the blobs.
        pace: the pace of the task.
    """

    def __init__(self, graph: Graph, pace: Pace) -> None:
        self._graph = graph
        self._pace = pace
        self._left: dict[Digest, float] = {}  # the blobs that `next` has not returned, with their last uses
        self._names: dict[Digest, set[Digest]] = {}
        self._parents: dict[Digest, set[Digest]] = {}
        self._waiting: dict[Digest, int] = {}
        self._ready: list[tuple[float, Digest]] = []
        self._oldest: Iterator[tuple[float, Digest]] | None = None

    def add(self, digest: Digest, used: float) -> None:
        """Add a blob with the time of its last use. Call this for all blobs before `link`."""
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
        """Whether `next` can return a blob that is named only by released blobs, or by none."""
        return bool(self._ready)

    async def next(self) -> list[Digest]:
        """Return the blobs that go next: one, or those of a cycle. The list is empty if no blobs are left."""
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
        """Release a group that `next` has returned, so that the blobs that it names may go."""
        for digest in group:
            async for each in self._pace.each(self._names.pop(digest, ())):
                self._waiting[each] -= 1
                if not self._waiting[each] and each in self._left:
                    heappush(self._ready, (self._left[each], each))

    async def _cycle(self) -> list[Digest]:
        """Return the least recently used blob and all blobs that name it, directly or not: a cycle, and the blobs that lead to it."""
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
