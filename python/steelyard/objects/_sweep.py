"""The removal of garbage from a bucket, in order, and the notes of the garbage that stays."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

from steelyard._collecting.order import Order
from steelyard._runtime.chunks import slices
from steelyard.collection import CollectOptions, Garbage
from steelyard.digest import Digest
from steelyard.objects._batches import Run
from steelyard.objects._blobs import Blobs
from steelyard.objects._marking import Marking
from steelyard.objects._notes import BlobNote, Notes
from steelyard.objects._values import to_time

__all__ = ("Sweep",)

_BATCH = 256
"""The most blobs of a batch."""


class Sweep:
    """Removes garbage in batches, while other clients work on the store.

    Args:
        marking: the marks of the blobs that all roots keep.
        blobs: the blobs of the store.
        notes: the notes of the store.
        noted: all notes, as they were listed after the start.
        options: the options of the collection.
        grace: its grace time.
        server_ns: the time of the start, by the server's clock.
        run: the collection, or None in a dry run.

    Attributes:
        going: the garbage that was removed, or that a dry run would remove, in order.
        left_bytes: the bytes of the blobs that stay, without blobs that were stored since the start.
    """

    def __init__(  # noqa: PLR0917  # one object each
        self,
        marking: Marking,
        blobs: Blobs,
        notes: Notes,
        noted: dict[Digest, list[BlobNote]],
        options: CollectOptions,
        grace: timedelta,
        server_ns: int,
        run: Run | None,
    ) -> None:
        self._marking, self._blobs, self._notes, self._noted = marking, blobs, notes, noted
        self._options, self._grace, self._server_ns, self._run = options, grace, server_ns, run
        self._wall_ns = time.time_ns()
        self._unkept = {digest: None for digest in marking.stored if digest not in marking.marks}
        self._removed_bytes = 0
        self.going: list[Garbage] = []
        self.left_bytes = 0

    async def run(self) -> None:
        """Remove garbage, or only list it in a dry run."""
        marking, most = self._marking, self._options.max_bytes
        self.left_bytes = sum(stored.size for stored in marking.stored.values())
        await self._spare()
        order = Order(marking.graph, marking.pace)
        async for digest in marking.pace.each(self._unkept):
            if digest not in marking.spared:
                order.add(digest, marking.stored[digest].modified_ns)
        await order.link()
        while most is None or self.left_bytes > most:
            batch = await self._next(order, most)
            if not batch:
                break
            await self._take(batch)
            await order.release(batch)
        if self._run is not None:
            await self._forget_missing()
            await self._note()

    async def _spare(self) -> None:
        """Spare the garbage within its grace time, and the blobs that it names."""
        grace = self._grace
        if grace:
            async for digest in self._marking.pace.each(self._unkept):
                note = self.note_of(digest)
                is_old = note is not None and note.is_old(grace, wall_ns=self._wall_ns, server_ns=self._server_ns)
                if not is_old:
                    await self._marking.spare(digest)

    def note_of(self, digest: Digest) -> BlobNote | None:
        """Return the earliest note that applies to the blob's present object, if there is one."""
        modified_ns = self._marking.stored[digest].modified_ns
        of_it = [note for note in self._noted.get(digest, ()) if note.blob_ns == modified_ns]
        return min(of_it, key=lambda note: note.at_ns, default=None)

    async def _next(self, order: Order, most: int | None) -> list[Digest]:
        """Return the blobs of the next batch. None of them names another one, except in a cycle."""
        batch: list[Digest] = []
        left = self.left_bytes
        # If no blob is ready, the next ones wait for this batch. Only an empty batch may begin with a cycle.
        while len(batch) < _BATCH and (order.is_ready or not batch) and (most is None or left > most):
            group = await order.next()
            if not group:
                break
            batch += group
            left -= sum(self._marking.stored[digest].size for digest in group if not self._marking.is_kept(digest))
        return batch

    async def _take(self, batch: list[Digest]) -> None:
        marking = self._marking
        if self._run is None:
            gone = [digest for digest in batch if not marking.is_kept(digest)]
        else:
            gone = await self._run.remove(
                batch, marking.follow, marking.is_kept, marking.documents.is_known, self._forget
            )
        for digest in gone:
            self.going.append(self.garbage(digest, goes=True))
            self.left_bytes -= marking.stored[digest].size
            del self._unkept[digest]
            self._removed_bytes += marking.stored[digest].size
        if self._run is not None:
            await self._blobs.gone(gone, "collected")
            self._options.report("remove", self._removed_bytes)

    async def _forget(self, digest: Digest, at_ns: int) -> None:
        """Remove the labels and notes of a blob that was removed."""
        if self._marking.has_labels(digest):
            await self._blobs.forget_labels(digest, at_ns)
        await self._notes.remove_all(self._noted.get(digest, []))

    async def _forget_missing(self) -> None:
        """Remove the references of missing documents. This takes batches, too, because a document may be about to be stored again.

        A missing document that a root keeps is skipped: its known references keep other blobs.
        """
        assert self._run is not None  # noqa: S101  # its caller checked
        marking = self._marking
        missing = [
            digest
            for digest in marking.documents.known()
            if digest not in marking.stored and digest not in marking.relied_on and not marking.is_kept(digest)
        ]
        for some in slices(missing, _BATCH):
            await self._run.remove(some, marking.follow, marking.is_kept, marking.documents.is_known, self._forget)

    async def _note(self) -> None:
        """Make notes of the garbage that stays, and remove the notes that no longer apply."""
        assert self._run is not None  # noqa: S101  # its caller checked
        marking = self._marking
        await marking.follow(await self._run.notes())
        new = {}
        async for digest in marking.pace.each(self._unkept):
            if digest not in marking.marks and digest not in marking.relied_on and self.note_of(digest) is None:
                new[digest] = marking.stored[digest].modified_ns
        await self._notes.make(new, self._wall_ns)
        await self._notes.remove_all(list(self._useless()))

    def _useless(self) -> Iterable[BlobNote]:
        """Yield the notes of blobs that roots keep, that were stored again since, or that are gone."""
        for digest, notes in self._noted.items():
            is_garbage = digest in self._unkept and digest not in self._marking.marks
            valid = self.note_of(digest) if is_garbage else None
            yield from (note for note in notes if note is not valid)

    def staying(self) -> list[Garbage]:
        """Return the garbage that stays."""
        return [self.garbage(digest, goes=False) for digest in self._unkept if digest not in self._marking.marks]

    def garbage(self, digest: Digest, *, goes: bool) -> Garbage:
        """Return the report about a blob."""
        note = self.note_of(digest)
        since = None if note is None else to_time(note.at_ns)
        return Garbage(digest=digest, size=self._marking.stored[digest].size, since=since, goes=goes)
