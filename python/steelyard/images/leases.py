"""Leases: they protect the blobs of an image from garbage collection until the image has a name.

A containerd removes unreferenced blobs at any time. A **lease** protects the blobs that are stored through it. After the lease
an image's name refers to its root, and the labels of each index and manifest refer to its children. A store that collects
garbage implements `Collecting`; for any other store this module does nothing.

Spec: containerd, "Garbage Collection": the labels ``containerd.io/gc.ref.content.*``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from datetime import timedelta
from typing import Protocol, runtime_checkable

import msgspec

from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.scopes import managed
from steelyard.content import Store
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidDigest, Unsupported
from steelyard.images.documents import Index, Manifest, OCIDescriptor
from steelyard.images.node import Node, view_of
from steelyard.model import Labels, PutResult

__all__ = ("Collecting", "LeaseGuard", "lease_guard", "reference_labels")

_PREFIX = "containerd.io/gc.ref.content."
_KEYS = {"index": "m.", "manifest": "m.", "layer": "l.", "config": "config"}


@runtime_checkable
class Collecting(Protocol):
    """The methods of a store that removes unreferenced blobs by itself."""

    def leased(self) -> AbstractAsyncContextManager[Store]:
        """Give a store that protects the blobs stored through it until the context is left.

        Raises:
            Unsupported: the store does not collect garbage after all.
        """
        ...

    async def keep_for(self, time: timedelta) -> Store:
        """Return a store that protects the blobs stored through it for that time.

        Raises:
            Unsupported: the store does not collect garbage after all.
        """
        ...

    async def protect(self, digests: Iterable[Digest]) -> None:
        """Protect blobs that are stored already in the same way; missing blobs are ignored."""
        ...


class LeaseGuard:
    """Protects the blobs of an image while it is stored.

    Attributes:
        store: the store to use; blobs stored through it are protected.
    """

    def __init__(self, store: Store, collecting: Collecting | None) -> None:
        self.store = store
        self._collecting = collecting

    async def find_stored(self, sizes: Mapping[Digest, int]) -> set[Digest]:
        """Return the blobs that are stored with these sizes; from now on they are protected."""
        infos = await self.store.infos(sizes)
        found = {digest for digest, info in infos.items() if info.size == sizes[digest]}
        if self._collecting is None or not found:
            return found
        await self._collecting.protect(found)
        # A blob may have been collected before it was protected.
        return set(await self.store.infos(found))

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
        if self._collecting is None:
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
        if self._collecting is not None:
            await self._label(digest, reference_labels(named))

    @uninterrupted  # a call with `*args` would leave its coroutine unawaited
    async def _label(self, digest: Digest, labels: Labels) -> None:
        info = await self.store.info(digest)
        if labels.items() <= info.labels.items():
            return
        await self.store.update(msgspec.structs.replace(info, labels=labels), *(f"labels.{key}" for key in labels))


@managed
async def lease_guard(store: Store) -> AsyncIterator[LeaseGuard]:
    """Give the lease guard of a store; if the store does not collect garbage, it protects nothing."""
    async with AsyncExitStack() as stack:
        if isinstance(store, Collecting):
            try:
                leased = await stack.enter_async_context(store.leased())
            except Unsupported:
                yield LeaseGuard(store, None)
                return
            yield LeaseGuard(leased, leased if isinstance(leased, Collecting) else store)
            return
        yield LeaseGuard(store, None)


def reference_labels(named: Iterable[OCIDescriptor]) -> Labels:
    """Return the labels by which a document refers to its children, as containerd writes them."""
    counts: dict[str, int] = {}
    labels: dict[str, str] = {}
    for child in named:
        try:
            digest = child.blob
        except InvalidDigest:  # of an algorithm that no store computes: it cannot be stored
            continue
        key = _KEYS.get(child.kind, "")
        place = counts[key] = counts.get(key, -1) + 1
        labels[f"{_PREFIX}{key}{place if place or not key or key.endswith('.') else ''}"] = str(digest)
    return Labels(labels)
