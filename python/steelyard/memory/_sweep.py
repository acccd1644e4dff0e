"""Chooses the garbage that a collection removes, and removes it in order."""

from __future__ import annotations

from datetime import timedelta

from steelyard._collecting.order import Order
from steelyard.collection import CollectOptions, Garbage
from steelyard.digest import Digest
from steelyard.events import EventSource
from steelyard.memory._blob import Blob, Note
from steelyard.memory._marking import Marking

__all__ = ("Sweep",)


class Sweep:
    """Removes garbage in steps, while other tasks use the store.

    Before each removal it applies the changes of other tasks. So no root keeps a blob at the moment of its removal.

    Args:
        marking: the marks; `Marking.mark` has returned.
        stored: the blobs of the store. Garbage is removed from this mapping.
        options: the options of the collection.
        grace: the age at which garbage may be removed.
        events: publishes an event for each removed blob.

    Attributes:
        going: the removed garbage, in order: a document never after the blobs that it names. In a dry run, the garbage that would be
            removed.
        staying: the garbage that stays.
        left_bytes: the bytes of the remaining blobs, without the blobs that were stored since the start.
    """

    def __init__(
        self,
        marking: Marking,
        stored: dict[Digest, Blob],
        options: CollectOptions,
        grace: timedelta,
        events: EventSource,
    ) -> None:
        self._at = Note.now()
        self._marking = marking
        self._stored = stored
        self._options = options
        self._grace = grace
        self._events = events
        self._unkept: dict[Digest, Blob] = {}
        self.going: list[Garbage] = []
        self.staying: list[Garbage] = []
        self.left_bytes = 0

    async def run(self) -> None:
        """Remove garbage, or only list it in a dry run."""
        marking, pace, most = self._marking, self._marking.pace, self._options.max_bytes
        async for digest, blob in pace.each(marking.blobs):
            if self._stored.get(digest) is blob:
                self.left_bytes += blob.info.size
                if digest not in marking.marks:
                    self._unkept[digest] = blob
        await self._spare()
        order = Order(marking.graph, pace)
        async for digest in pace.each(self._unkept):
            if digest not in marking.spared:
                order.add(digest, self._unkept[digest].used)
        await order.link()
        while most is None or self.left_bytes > most:
            group = await order.next()
            if not group:
                break
            for digest in group:
                await self._remove(digest)
            await order.release(group)
        await self._update_notes()

    async def _spare(self) -> None:
        """Spare the garbage within its grace time, and all blobs that it names."""
        if grace := self._grace:
            async for digest, blob in self._marking.pace.each(self._unkept.items()):
                if not self._is_older_than(blob, grace):
                    await self._marking.spare(digest)

    def _is_older_than(self, blob: Blob, grace: timedelta) -> bool:
        return blob.note is not None and blob.note.is_older_than(self._at, grace)

    async def _remove(self, digest: Digest) -> None:
        blob = self._unkept[digest]
        self._marking.pace.count()
        await self._marking.pace.pause()
        await self._marking.settle()
        if self._stored.get(digest) is not blob or self._marking.is_kept(digest):
            return
        self.going.append(_reported(digest, blob, goes=True))
        self.left_bytes -= blob.info.size
        del self._unkept[digest]
        if not self._options.dry_run:
            del self._stored[digest]
            self._events.publish("deleted", digest=digest, reason="collected")

    async def _update_notes(self) -> None:
        """Give garbage that stays a note of this collection, if it has none, and remove the notes of blobs that roots keep."""
        marking = self._marking
        async for digest, blob in marking.pace.each(marking.blobs):
            await marking.settle()
            if self._stored.get(digest) is not blob:
                continue
            is_marked = digest in marking.marks
            if digest in self._unkept and not is_marked:
                self.staying.append(_reported(digest, blob, goes=False))
            if self._options.dry_run:
                continue
            if is_marked:
                blob.note = None
            elif blob.note is None and digest not in marking.fresh:
                blob.note = self._at


def _reported(digest: Digest, blob: Blob, *, goes: bool) -> Garbage:
    return Garbage(digest=digest, size=blob.info.size, since=None if blob.note is None else blob.note.at, goes=goes)
