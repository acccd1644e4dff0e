"""Which garbage goes in a collection, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from heapq import heapify, heappop, heappush

from steelyard.collection import DEFAULT_GRACE, CollectOptions, Garbage
from steelyard.digest import Digest
from steelyard.memory._blob import Blob, Note
from steelyard.memory._mark import Graph

__all__ = ("Sweep",)


class Sweep:
    """The garbage of a store at one moment.

    Args:
        blobs: the stored blobs.
        garbage: those that no root keeps.
        graph: what blobs name.
        options: the options of the collection.

    Attributes:
        at: the moment.
        going: the blobs that go, in order: a document never later than the blobs that it names.
        staying: the garbage that stays.
        left_bytes: the bytes of all blobs that are left.
    """

    def __init__(
        self, blobs: Mapping[Digest, Blob], garbage: Iterable[Digest], graph: Graph, options: CollectOptions
    ) -> None:
        self.at = Note.now()
        self._blobs = blobs
        self._graph = graph
        self.left_bytes = sum(blob.info.size for blob in blobs.values())
        unkept = dict.fromkeys(garbage)
        spared = self._spared(unkept, options)
        most = options.max_bytes
        self.going: list[Digest] = []
        for group in self._groups({digest for digest in unkept if digest not in spared}):
            if most is not None and self.left_bytes <= most:
                break
            self.going += group
            self.left_bytes -= sum(blobs[digest].info.size for digest in group)
        gone = set(self.going)
        self.staying = [digest for digest in unkept if digest not in gone]

    def report(self, digest: Digest, *, goes: bool) -> Garbage:
        """Return garbage in the form for a caller."""
        blob = self._blobs[digest]
        return Garbage(digest=digest, size=blob.info.size, since=None if blob.note is None else blob.note.at, goes=goes)

    def _spared(self, unkept: Mapping[Digest, None], options: CollectOptions) -> set[Digest]:
        """Return the garbage within its grace time, with all that it names."""
        grace = DEFAULT_GRACE if options.grace is None else options.grace
        stack = [digest for digest in unkept if grace and not self._is_older_than(digest, grace)]
        found = set(stack)
        while stack:
            for named in self._graph.kept_by(stack.pop()):
                if named in unkept and named not in found:
                    found.add(named)
                    stack.append(named)
        return found

    def _is_older_than(self, digest: Digest, grace: timedelta) -> bool:
        note = self._blobs[digest].note
        return note is not None and note.is_older_than(self.at, grace)

    def _groups(self, left: set[Digest]) -> Iterator[list[Digest]]:
        """Yield the blobs in the order in which they go, the least recently used first; a cycle goes as a whole."""
        parents: dict[Digest, set[Digest]] = {digest: set() for digest in left}
        names = {digest: {each for each in self._graph.named_by(digest) if each in left} - {digest} for digest in left}
        for digest, named in names.items():
            for each in named:
                parents[each].add(digest)
        waiting = Counter({digest: len(above) for digest, above in parents.items()})
        ready = [(self._blobs[digest].used, digest) for digest in left if not waiting[digest]]
        heapify(ready)
        oldest = iter(sorted(left, key=lambda digest: self._blobs[digest].used))
        while left:
            if ready:
                group = [heappop(ready)[1]]
            else:
                group = _with_ancestors(next(digest for digest in oldest if digest in left), parents, left)
            left.difference_update(group)
            yield group
            for digest in group:
                for each in names[digest]:
                    waiting[each] -= 1
                    if not waiting[each] and each in left:
                        heappush(ready, (self._blobs[each].used, each))


def _with_ancestors(digest: Digest, parents: Mapping[Digest, set[Digest]], left: set[Digest]) -> list[Digest]:
    """Return a blob and all that name it, directly or not: a cycle, and what leads to it."""
    found = {digest: None}
    stack = [digest]
    while stack:
        for above in parents[stack.pop()]:
            if above in left and above not in found:
                found[above] = None
                stack.append(above)
    return list(reversed(found))
