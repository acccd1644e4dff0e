"""Garbage collection in memory: the reference for every store that collects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from anyio.lowlevel import checkpoint

from steelyard._collecting.result import finish
from steelyard.collection import CollectDefaults, Collected, CollectOptions, Kept, Reason
from steelyard.digest import Digest
from steelyard.errors import CollectionBusy, CollectionRefused, FailedPrecondition
from steelyard.events import EventSource
from steelyard.memory._changes import Changes
from steelyard.memory._documents import Documents
from steelyard.memory._marking import Contents, Marking
from steelyard.memory._sweep import Sweep

__all__ = ("Collection",)


class Collection:
    """The collections of a store in memory.

    A collection reads documents, marks and removes in steps. The event loop runs other tasks between the steps, and these may change the
    store.

    Args:
        contents: the contents of the store.
        changes: passes the changes of the store to a running collection.
        events: publishes an event for each removed blob.

    Attributes:
        defaults: the grace time and the ingest age of collections that are given none.
    """

    def __init__(self, contents: Contents, changes: Changes, events: EventSource) -> None:
        self._contents = contents
        self._changes = changes
        self._events = events
        self._documents = Documents(contents.blobs)
        self.defaults = CollectDefaults()
        self._is_running = False
        self._served: list[str | None] = []  # the argument of `serve`; empty before the first call

    def serve(self, collector: str | None) -> None:
        """Record that a service starts.

        Args:
            collector: the program that collects the garbage from now on, or None if the store itself does.

        Raises:
            FailedPrecondition: an earlier service had another collector.
            CollectionBusy: a collection is running.
        """
        if self._served and self._served != [collector]:
            raise FailedPrecondition("MemoryStore: an earlier service had another collector")
        if collector is not None and self._is_running:
            raise CollectionBusy("this process")
        self._served = [collector]

    async def collect(self, options: CollectOptions) -> Collected:
        """Remove garbage; see `Collector.collect`."""
        await checkpoint()
        if self._is_running:
            raise CollectionBusy("this process")
        if (other := next(iter(self._served), None)) is not None:
            reason = f"{other} collects the blobs of this store, for as long as the store exists"
            raise CollectionRefused("MemoryStore", cause="open", reason=reason)
        self._is_running = True
        try:
            with self._changes.followed() as log:
                times = self.defaults.changed(options.grace, options.ingest_age)
                if not options.dry_run:
                    self._contents.leases.end_expired()
                marking = Marking(self._contents, self._documents, log, times.ingest_age)
                await marking.mark(lambda done: options.report("mark", done))
                ingests = await self._remove_ingests(marking, options)
                sweep = Sweep(marking, self._contents.blobs, options, times.grace, self._events)
                await sweep.run()
                if not options.dry_run:
                    await self._forget_documents(marking)
                kept = await self._kept(marking)
        finally:
            self._is_running = False
        return await finish(
            options,
            going=sweep.going,
            staying=sweep.staying,
            left_bytes=sweep.left_bytes,
            kept=kept,
            ingests=ingests,
            warnings=marking.warnings.all(),
        )

    async def reasons(self, digests: Sequence[Digest]) -> dict[Digest, Reason]:
        """Return why blobs are kept; see `Collector.reasons`."""
        await checkpoint()
        with self._changes.followed() as log:
            marking = Marking(self._contents, self._documents, log, None)
            await marking.mark()
            found = {}
            for digest in digests:
                if (blob := self._contents.blobs.get(digest)) is not None:
                    root = marking.marks.root_of(digest)
                    since = None if root is not None or blob.note is None else blob.note.at
                    found[digest] = Reason(digest=digest, root=root, chain=marking.marks.chain_to(digest), since=since)
            return found

    async def _remove_ingests(self, marking: Marking, options: CollectOptions) -> int:
        """Remove the abandoned ingests, except in a dry run, and return their number."""
        removed = 0
        for ref in list(marking.abandoned):
            marking.pace.count(self._contents.leases.count())
            await marking.pace.pause()
            await marking.settle()
            if marking.is_abandoned(ref):
                removed += 1
                if not options.dry_run:
                    del self._contents.ingests[ref]
        return removed

    async def _forget_documents(self, marking: Marking) -> None:
        """Forget deleted documents, except marked ones: a root keeps the blobs that a missing document is known to name."""
        async for digest in marking.pace.each(self._documents.known()):
            await marking.settle()
            if digest not in self._contents.blobs and digest not in marking.marks:
                self._documents.forget(digest)

    async def _kept(self, marking: Marking) -> Kept:
        kinds: Counter[str] = Counter()
        async for digest, blob in marking.pace.each(marking.blobs):
            root = marking.marks.root_of(digest)
            if root is not None and self._contents.blobs.get(digest) is blob:
                kinds[root.kind] += 1
        return Kept(
            image_names=kinds["image name"], labels=kinds["label"], leases=kinds["lease"], ingests=kinds["ingest"]
        )
