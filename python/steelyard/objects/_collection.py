"""Garbage collection in a bucket. `docs/object-storage.md` describes the protocol."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing, suppress
from datetime import timedelta

from anyio.lowlevel import checkpoint

from steelyard._collecting.result import finish
from steelyard._runtime.scopes import task_group
from steelyard.collection import CollectDefaults, Collected, CollectOptions, Kept, Reason
from steelyard.digest import Digest
from steelyard.errors import CollectionBusy, CollectionRefused, FailedPrecondition, ServerRefused
from steelyard.local import LocalStore
from steelyard.objects._batches import Run
from steelyard.objects._blobs import Blobs
from steelyard.objects._layout import COLLECTOR, IMAGES, LABELS, LEASED, LEASES, SETTINGS
from steelyard.objects._leases import HeldLease, ObjectLeases
from steelyard.objects._marking import Marking, Roots
from steelyard.objects._names import ObjectImageNames
from steelyard.objects._notes import Notes
from steelyard.objects._records import Record, Records
from steelyard.objects._requests import Missing, Requests
from steelyard.objects._sweep import Sweep
from steelyard.objects._unfinished import abort_abandoned
from steelyard.objects._uploads import Uploads
from steelyard.objects._values import DefaultsValue
from steelyard.objects._watch import Watch

__all__ = ("Collection",)

_ROOTS = (IMAGES, LABELS, LEASES, LEASED)

_COLLECT = "collect"
"""The record of the times of collections."""

_DRY_RUN_MARKS = 4
"""How often a dry run marks at most, while other clients change the roots."""

_REASON_MARKS = 16
"""How often `reasons` marks at most, while other clients change the roots."""


class Collection:
    """The collections of a store in a bucket.

    Args:
        requests: the server.
        watch: looks at collections.
        blobs, names, leases: the content of the store.
        spool: the ingests of this machine.
        uploads: their uploads.
    """

    def __init__(  # noqa: PLR0917  # one object each
        self,
        requests: Requests,
        watch: Watch,
        blobs: Blobs,
        names: ObjectImageNames,
        leases: ObjectLeases,
        spool: LocalStore,
        uploads: Uploads,
    ) -> None:
        self._requests, self._watch, self._uploads = requests, watch, uploads
        self._blobs, self._names, self._leases, self._spool = blobs, names, leases, spool
        self._notes = Notes(requests)
        self._defaults: Records[DefaultsValue] = Records(requests, SETTINGS, DefaultsValue)
        self._own: set[str] = set()
        self._is_running = False

    async def collect(self, options: CollectOptions) -> Collected:
        """Remove garbage; see `Collector.collect`."""
        await checkpoint()
        if self._is_running:
            raise CollectionBusy("this process")
        if options.dry_run:
            await self._check_collector(options)
            return await self._collect(options, time.time_ns(), None)
        self._is_running = True
        try:
            run = await Run.begin(self._requests, self._own)
            try:
                async with task_group() as tasks:
                    tasks.start_soon(run.beat)
                    await self._check_collector(options)
                    result = await self._collect(options, run.server_ns, run)
                    tasks.cancel_scope.cancel()
            finally:
                await run.end()
        finally:
            self._is_running = False
        return result

    async def _collect(self, options: CollectOptions, server_ns: int, run: Run | None) -> Collected:
        times = (await self.defaults(None, None)).changed(options.grace, options.ingest_age)
        leases = await self._leases.lasting(server_ns)
        abandoned = await self._abandoned(leases, times.ingest_age, remove=run is not None)
        marking = await (self._mark(server_ns, leases, options) if run is not None else self._mark_alone(options))
        sweep = Sweep(marking, self._blobs, self._notes, await self._notes.all(), options, times.grace, server_ns, run)
        await sweep.run()
        if run is not None:
            await self._leases.clean(server_ns)
            await self._abort_uploads()
        return await finish(
            options,
            going=sweep.going,
            staying=sweep.staying(),
            left_bytes=sweep.left_bytes,
            kept=_kept(marking),
            ingests=abandoned,
            warnings=marking.warnings.all(),
        )

    async def _mark_alone(self, options: CollectOptions) -> Marking:
        """Mark for a dry run, for which writers make no notes. A blob that any of the marks has found kept stays."""
        kept: set[Digest] = set()
        before = await self._roots()
        for _ in range(_DRY_RUN_MARKS):
            marking = await self._mark(time.time_ns(), None, options)
            # A blob that moved from one root to another between two listings has no mark.
            after = await self._roots()
            if before == after:
                break
            kept |= {digest for digest in marking.stored if digest in marking.marks}
            before = after
        for digest in sorted(kept & marking.stored.keys()):
            await marking.spare(digest)
        return marking

    async def _roots(self) -> set[str]:
        """Return the keys of all roots. They differ after each change."""
        return {each.key for prefix in _ROOTS for each in await self._requests.every(prefix)}

    async def _mark(self, server_ns: int, leases: Sequence[HeldLease] | None, options: CollectOptions) -> Marking:
        marking = Marking(self._requests, self._blobs)
        await marking.load(lambda done: options.report("mark", done))
        # The roots are read after the blobs, so a name that was set since the listing of blobs counts, too.
        held = await self._leases.lasting(server_ns) if leases is None else leases
        await marking.mark(Roots(await self._names.list(), held, await self._spool.list_statuses()))
        return marking

    async def defaults(self, grace: timedelta | None, ingest_age: timedelta | None) -> CollectDefaults:
        """Set times of collections, unless both are None, and return them; see `Collector.set_collect_defaults`."""
        if grace is ingest_age is None:
            kept = await self._defaults.read(_COLLECT)
        else:
            kept = await self._defaults.change(
                _COLLECT, lambda old: DefaultsValue.of(_times(old).changed(grace, ingest_age))
            )
        return _times(kept)

    async def reasons(self, digests: Sequence[Digest]) -> dict[Digest, Reason]:
        """Return why blobs are kept; see `Collector.reasons`."""
        before: set[str] = set()
        for _ in range(_REASON_MARKS):
            marking = await self._mark(time.time_ns(), None, CollectOptions())
            # A blob that moved from one root to another between two listings has no mark.
            after = await self._roots()
            if before == after or all(digest in marking.marks for digest in digests if digest in marking.stored):
                break
            before = after
        found = {}
        for digest in digests:
            if digest in marking.stored:
                root = marking.marks.root_of(digest)
                since = None
                if root is None:
                    sweep = Sweep(
                        marking,
                        self._blobs,
                        self._notes,
                        {digest: await self._notes.of(digest)},
                        CollectOptions(),
                        timedelta(),
                        0,
                        None,
                    )
                    since = sweep.garbage(digest, goes=False).since
                found[digest] = Reason(digest=digest, root=root, chain=marking.marks.chain_to(digest), since=since)
        return found

    async def _abandoned(self, leases: Sequence[HeldLease], age: timedelta, *, remove: bool) -> int:
        """Remove the abandoned ingests of this spool, or only count them, and return their number."""
        refs = {ref for lease in leases for ref in lease.refs}
        async with self._spool.lease() as protected:
            assert protected.lease_id is not None  # noqa: S101  # it was begun
            await self._spool.leases.add(protected.lease_id, refs=refs)
            with suppress(
                CollectionRefused, CollectionBusy
            ):  # another program has the spool open, and will remove them
                return (await self._spool.collect(ingest_age=age, dry_run=not remove)).ingests
        return 0

    async def _abort_uploads(self) -> None:
        """Discard the abandoned uploads, if the server can list uploads."""
        with suppress(ServerRefused):
            async with aclosing(abort_abandoned(self._requests, self._uploads, self._spool)) as aborted:
                async for _ in aborted:
                    pass

    # Who collects

    async def serve(self, collector: str | None) -> None:
        """Note durably that another program collects; see `Collector._serve`.

        Raises:
            FailedPrecondition: `collector` is None, which leaves collections to the store, and another program collects.
            CollectionBusy: a collection is running.
        """
        if collector is None:
            if (other := await self._collector()) is not None:
                raise FailedPrecondition(f"{self._requests.address}: {other} collects the blobs of this store")
            return
        await self._requests.put(COLLECTOR, collector.encode(), create=False)
        # Write first, then look: either this call sees the collection, or the collection sees the object.
        if not (await self._watch.look()).seen.is_over:
            await self._requests.delete(COLLECTOR)
            raise CollectionBusy
        await checkpoint()

    async def _check_collector(self, options: CollectOptions) -> None:
        other = await self._collector()
        if other is None or (options.take_back and options.dry_run):
            return
        if not options.take_back:
            reason = f"{other} collects the blobs of this store; take_back ends that"
            raise CollectionRefused(self._requests.address, cause="containerd", reason=reason)
        await self._requests.delete(COLLECTOR)

    async def _collector(self) -> str | None:
        try:
            _, data = await self._requests.get(COLLECTOR)
        except Missing:
            return None
        return data.decode(errors="replace")


def _times(record: Record[DefaultsValue] | None) -> CollectDefaults:
    return CollectDefaults() if record is None or record.value is None else record.value.times()


def _kept(marking: Marking) -> Kept:
    kinds = Counter(root.kind for digest in marking.stored if (root := marking.marks.root_of(digest)) is not None)
    return Kept(image_names=kinds["image name"], labels=kinds["label"], leases=kinds["lease"], ingests=kinds["ingest"])
