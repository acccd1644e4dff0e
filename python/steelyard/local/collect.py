"""Garbage collection of a `LocalStore`: one hop for each step, so that a collection can be cancelled between two steps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from steelyard._runtime.calls import run, run_always
from steelyard.collection import CollectDefaults, Collected, CollectOptions, Reason
from steelyard.digest import Digest
from steelyard.local.blocking import BlockingStore, _collect
from steelyard.local.blocking._collect import BlockingCollection, BlockingWhy

__all__ = ("collect", "collect_defaults", "reasons")


async def collect(store: BlockingStore, options: CollectOptions) -> Collected:
    """Collect garbage; see `Collector.collect`."""
    collection = await run(BlockingCollection.start, store.native, options)
    try:
        while True:
            step = await run(collection.step)
            for garbage in step.found:
                options.found(garbage)
            options.report(step.phase, step.done, step.total)
            if step.ended:
                return collection.result()
    finally:
        # CANCEL: shielded, because no other collection could start while this one is open.
        await run_always(collection.close)


async def collect_defaults(
    store: BlockingStore, grace: timedelta | None, ingest_age: timedelta | None
) -> CollectDefaults:
    """Set those default times of collections that are not None, and return both; see `Collector.set_collect_defaults`."""
    return await run(_collect.collect_defaults, store.native, grace, ingest_age)


async def reasons(store: BlockingStore, digests: Iterable[Digest | str]) -> dict[Digest, Reason]:
    """Return why blobs are kept; see `Collector.reasons`."""
    why = await run(BlockingWhy.start, store.native, digests)
    try:
        while not await run(why.step):
            pass
        return await run(why.reasons)
    finally:
        # CANCEL: shielded, because the memory of the marks would stay allocated.
        await run_always(why.close)
