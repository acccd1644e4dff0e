"""Protection of blobs in a store that collects garbage by itself, as containerd does: at any time, it may remove unreferenced blobs."""

from __future__ import annotations

from datetime import timedelta

from steelyard.cli.context import Context
from steelyard.content import Store
from steelyard.errors import DataCorrupt, Unsupported

__all__ = ("kept_for_a_day",)

_KEPT = timedelta(days=1)


async def kept_for_a_day(context: Context, store: Store, done: str) -> Store:
    """Return the store with a lease of a day, and print a notice, if it collects garbage by itself and has no lease yet; else the store.

    Args:
        context: the run.
        store: the store.
        done: the participle for the notice, such as ``copied``.
    """
    if not store.leases.collects or store.lease_id is not None:
        return store
    try:
        lease = await store.leases.create(expires=_KEPT)
    except (Unsupported, DataCorrupt):
        return store  # without leases, or with damaged metadata, nothing is collected
    context.conclude(
        f"the target collects garbage: it keeps {done} blobs for a day, and longer if an image or a label references them"
    )
    return store.with_lease(lease.id)
