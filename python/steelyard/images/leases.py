"""Leases: they protect the blobs of an image from garbage collection until the image has a name.

A **lease** protects blobs that nothing refers to yet. Afterwards the name of an image refers to the root, and the root to the other blobs.
A store reads these references in the documents. containerd, which may remove unreferenced blobs at any time, reads them only in labels
(`Leases.collects`).

Spec: containerd, "Garbage Collection": the labels ``containerd.io/gc.ref.content.*``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress

import msgspec

from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.scopes import managed
from steelyard.content import Store
from steelyard.digest import Algorithm, Digest
from steelyard.errors import DataCorrupt, InvalidDigest, StorageError, Unsupported
from steelyard.images.documents import Index, Manifest, OCIDescriptor
from steelyard.images.node import Node, view_of
from steelyard.model import Labels, PutResult

__all__ = ("LeaseGuard", "lease_guard", "own_or_new_guard", "reference_labels")

_PREFIX = "containerd.io/gc.ref.content."
_KEYS = {"index": "m.", "manifest": "m.", "layer": "l.", "config": "config"}


class LeaseGuard:
    """Protects the blobs of an image while it is stored.

    Attributes:
        store: the store to use; blobs stored through it are protected.

    Args:
        store: the store with the lease.
        lease: the ID of the lease, or None if nothing is protected.
        labels: whether documents are labelled with references to their children.
    """

    def __init__(self, store: Store, lease: str | None = None, *, labels: bool = False) -> None:
        self.store = store
        self._lease = lease
        self._labels = labels

    async def find_stored(self, sizes: Mapping[Digest, int], *, protect: bool = True) -> set[Digest]:
        """Return the blobs that are stored with these sizes; from now on they are protected.

        Args:
            sizes: the size of each blob.
            protect: False if documents that name the blobs are protected already.
        """
        if protect and self._lease is not None and not self._labels:
            # Before the lookup: blobs that are absent now will be stored soon, and one transaction adds all of them.
            await self.store.leases.add(self._lease, digests=sizes)
        stored = await self.store.sizes(sizes)
        found = {digest for digest, size in stored.items() if size == sizes[digest]}
        if not protect or self._lease is None or not self._labels or not found:
            return found
        # A server needs a call for each blob, so only stored blobs are added.
        await self.store.leases.add(self._lease, digests=found)
        # A blob may have been collected before it was protected.
        return set(await self.store.sizes(found))

    async def protect(self, digests: Iterable[Digest]) -> None:
        """Protect blobs that are read. On a full disk they are read without protection."""
        if self._lease is not None:
            with suppress(StorageError):
                await self.store.leases.add(self._lease, digests=digests)

    async def put_batch(self, blobs: Sequence[tuple[Algorithm, bytes]]) -> list[PutResult]:
        """Store small blobs, and return the results in the same order."""
        places = defaultdict(list)
        for place, (algorithm, _) in enumerate(blobs):
            places[algorithm].append(place)
        found: dict[int, PutResult] = {}
        for algorithm, own in places.items():
            data = [blobs[place][1] for place in own]
            # The first error ends the batch: `result` raises it.
            async with aclosing(self.store.put_many(data, algorithm=algorithm, errors="yield")) as results:
                async for one in results:
                    found[own[one.index]] = one.result
        return [found[place] for place in range(len(blobs))]

    async def refer(self, nodes: Iterable[Node]) -> None:
        """Label the documents among the stored blobs of an image with references to their stored children."""
        if not self._labels:
            return
        stored = list(nodes)
        there = {node.descriptor.digest for node in stored}
        for node in stored:
            view = view_of(node)
            if isinstance(view, Index | Manifest):
                named = [child for child in view.children if child.digest in there]
                await self._label(node.descriptor.blob, reference_labels(named))

    async def refer_all(self, digest: Digest, named: Iterable[OCIDescriptor]) -> None:
        """Label one document with references to all its children."""
        if self._labels:
            await self._label(digest, reference_labels(named))

    @uninterrupted  # a call with `*args` would leave its coroutine unawaited
    async def _label(self, digest: Digest, labels: Labels) -> None:
        info = await self.store.info(digest)
        if labels.items() <= info.labels.items():
            return
        await self.store.update(msgspec.structs.replace(info, labels=labels), *(f"labels.{key}" for key in labels))


@managed
async def lease_guard(store: Store, *, reads: bool = False) -> AsyncIterator[LeaseGuard]:
    """Yield the lease guard of a store. If the store can have no lease, the guard protects nothing, and nothing is collected.

    This is the case for a store without leases, and for a store whose metadata is damaged: a store removes nothing until it is rebuilt.

    Args:
        store: the store.
        reads: whether the store is only read. On a full disk it is then read without protection.
    """
    refused = (Unsupported, DataCorrupt, StorageError) if reads else (Unsupported, DataCorrupt)
    async with AsyncExitStack() as stack:
        try:
            leased = await stack.enter_async_context(store.lease())
        except refused:
            yield LeaseGuard(store)
            return
        yield LeaseGuard(leased, leased.lease_id, labels=leased.leases.collects)


@managed
async def own_or_new_guard(store: Store) -> AsyncIterator[LeaseGuard]:
    """Yield the lease guard of a store. It uses the store's own lease, which the caller ends, or else a lease for this call."""
    if store.lease_id is not None:
        yield LeaseGuard(store, store.lease_id, labels=store.leases.collects)
        return
    async with lease_guard(store) as guard:
        yield guard


def reference_labels(named: Iterable[OCIDescriptor]) -> Labels:
    """Return the labels by which a document refers to its children, as containerd writes them."""
    counts: dict[str, int] = {}
    labels: dict[str, str] = {}
    for child in named:
        try:
            digest = child.blob
        except InvalidDigest:  # no store computes its algorithm, so it cannot be stored
            continue
        key = _KEYS.get(child.kind, "")
        place = counts[key] = counts.get(key, -1) + 1
        labels[f"{_PREFIX}{key}{place if place or not key or key.endswith('.') else ''}"] = str(digest)
    return Labels(labels)
