"""Tools for a store of your own: checks, and base classes that implement the convenience methods with only the interfaces.

`docs/guide.md` describes the steps. Use these instead of checks of your own:

| Name | Does |
| --- | --- |
| `BaseStore` | implements `put`, `put_many`, `update_many`, `delete_many`, `get`, `exists`, `infos`, `sizes`, `lease`, `aopen` and `aclose` |
| `BaseReader` | implements `readinto_at` and the verified `stream` |
| `steelyard.content.opening` | gives `writer` and `reader_at` both forms: awaited and entered |
| `steelyard.options.IngestOptions.parse` | checks and converts the arguments of `writer` |
| `steelyard.options.CommitOptions` | the checked arguments of `Writer.commit`, which `_commit` gets |
| `steelyard.model.Descriptor` | its `of` returns the descriptor of an argument `blob`, its `check_size` compares the sizes |
| `steelyard.hashing.Hasher` | computes the digest of bytes that arrive in pieces |
| `check_ref`, `check_size`, `check_range` | check a ref, a size and a range of a blob |
| `view` | returns the bytes of a buffer, and refuses objects that are not a flat buffer of bytes |
| `changed_labels` | returns the labels of a blob after `update` |
| `compiled`, `choose` | compile filters, and apply them, without blocking the event loop |
| `steelyard.filters.info_fields`, `status_fields`, `image_fields`, `lease_fields` | the fields of a blob, an ingest, an image name and a lease |
| `steelyard.memory.MemoryImageNames` | image names in memory, for a store that need not keep them |
| `steelyard.memory.MemoryLeases` | leases in memory, for a store that need not keep them |
| `steelyard.events.EventSource` | delivers events to subscribers |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from steelyard._lazy import Module as _Module
from steelyard._lazy import exports as _exports
from steelyard.content import Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta

    from steelyard._runtime.buffers import view
    from steelyard.collection import CollectDefaults, Collected, CollectOptions, Reason
    from steelyard.digest import Digest
    from steelyard.events import Events
    from steelyard.filters._async import choose, compiled
    from steelyard.leases import Leases
    from steelyard.model import (
        Blobs,
        DeleteManyResult,
        Descriptor,
        Info,
        Labels,
        PutManyResult,
        PutResult,
        Source,
        Sources,
        UpdateManyResult,
    )
    from steelyard.options import (
        REF_LIMIT,
        LabelChange,
        PutOptions,
        ReadRange,
        changed_labels,
        check_range,
        check_ref,
        check_size,
    )
    from steelyard.transfer import _base as _work
    from steelyard.transfer._reader import BaseReader
else:
    _work = _Module("steelyard.transfer._base")
    __getattr__, __dir__ = _exports(
        __name__,
        {
            "steelyard._runtime.buffers": "view",
            "steelyard.filters._async": "choose compiled",
            "steelyard.options": "REF_LIMIT changed_labels check_range check_ref check_size",
            "steelyard.transfer._reader": "BaseReader",
        },
    )

__all__ = (
    "REF_LIMIT",
    "BaseReader",
    "BaseStore",
    "changed_labels",
    "check_range",
    "check_ref",
    "check_size",
    "choose",
    "compiled",
    "view",
)


class BaseStore(Store):
    """A store with all convenience methods; a subclass implements `images`, and the methods of `Provider`, `Ingester`, `Manager` and `IngestManager`.

    It has no leases unless the subclass overrides `leases`, `with_lease`, `_begin_lease` and `_end_lease`.

    `open_writer` must know when a ref becomes free. Call `_ref_released` whenever a writer of your store releases its ref,
    and raise `Unavailable` with ``local=True`` if, and only if, such a call will follow.

    Override `_put` or `_put_many` if your store has a faster way than an ingest for each source, and `_update_many` or `_delete_many` if it
    has a faster way than a call for each blob.
    """

    def _ref_released(self, ref: str) -> None:
        """Wake the task that waits for `ref`, after a commit, a close or an abort has freed it."""
        _work.ref_queue(self).released(ref)

    async def aopen(self) -> Self:
        """Return the store; a store that opens something overrides it."""
        await _work.checkpoint()
        return self

    async def aclose(self) -> None:
        """Do nothing; a store that opens something overrides it."""
        await _work.checkpoint()

    async def _put(self, source: Source, options: PutOptions) -> PutResult:
        """Store a source through an ingest of its own; a store with a faster way overrides this hook of `put`."""
        return await _work.put_source(self, source, options)

    def _put_many(
        self, sources: Sources, options: PutOptions, concurrency: int | None
    ) -> AsyncGenerator[PutManyResult, None]:
        """Store many sources, each as `put` does; a store with a faster way overrides this hook of `put_many`."""

        async def put(source: Source) -> PutResult:
            return await self._put(source, options)

        return _work.put_each(put, sources, concurrency)

    def _update_many(
        self, blobs: Blobs, change: LabelChange, concurrency: int | None
    ) -> AsyncGenerator[UpdateManyResult, None]:
        """Change many blobs, each as `update` does; a store with a faster way overrides this hook of `update_many`."""
        return _work.update_each(self, blobs, change, concurrency)

    def _delete_many(self, blobs: Blobs, concurrency: int | None) -> AsyncGenerator[DeleteManyResult, None]:
        """Delete many blobs, each as `delete` does; a store with a faster way overrides this hook of `delete_many`."""
        return _work.delete_each(self, blobs, concurrency)

    async def _read_ranges(self, ranges: Sequence[ReadRange]) -> list[bytes | Exception]:
        """Read parts of many blobs, each through a reader; a store with a faster way overrides this hook."""
        return await _work.read_ranges(self, ranges)

    @property
    def leases(self) -> Leases:
        """The store's leases; a store with leases overrides it."""
        raise _work.Unsupported(type(self).__name__, operation="leases")

    def with_lease(self, lease: str) -> Self:
        """Return this store with a lease; see `Store.with_lease`. A store with leases overrides it."""
        _work.check_lease(lease)
        raise _work.Unsupported(type(self).__name__, operation="leases")

    def lease(
        self, *, labels: Mapping[str, str] | None = None, expires: timedelta | None = None
    ) -> AbstractAsyncContextManager[Self]:
        """Create a lease, yield this store with it, and end the lease; see `Store.lease`."""
        return _work.leased(self, labels, expires)

    async def _begin_lease(self, lease: str, labels: Labels, expires: timedelta | None) -> None:
        """Create a lease that ends with this process; a store with leases overrides this hook of `lease`."""
        del lease, labels, expires
        await _work.checkpoint()
        raise _work.Unsupported(type(self).__name__, operation="leases")

    async def _end_lease(self, lease: str) -> None:
        """End a lease of `_begin_lease` and raise nothing; a store with leases overrides this hook of `lease`."""

    async def _collect(self, options: CollectOptions) -> Collected:
        """Remove garbage; a store that collects overrides this hook of `collect`."""
        del options
        await _work.checkpoint()
        raise _work.Unsupported(type(self).__name__, operation="collect")

    async def _collect_defaults(self, grace: timedelta | None, ingest_age: timedelta | None) -> CollectDefaults:
        """Set the default times of collections that are not None, and return both; a store that keeps such settings overrides this hook."""
        await _work.checkpoint()
        if grace is ingest_age is None:
            return _work.CollectDefaults()
        raise _work.Unsupported(type(self).__name__, operation="set_collect_defaults")

    async def _reasons(self, digests: Sequence[Digest]) -> dict[Digest, Reason]:
        """Return why blobs are kept; a store that collects overrides this hook of `why` and `reasons`."""
        del digests
        await _work.checkpoint()
        raise _work.Unsupported(type(self).__name__, operation="why")

    async def _serve(self, collector: str | None) -> None:
        """Record which program collects while a service runs; None means the store itself. A store that collects overrides this hook."""
        del collector
        await _work.checkpoint()

    def events(self, *filters: str, buffer: int = 4096) -> Events:
        """Iterate over the changes of this process; a store with events overrides it."""
        del filters, buffer
        raise _work.Unsupported(type(self).__name__, operation="events")

    async def get(self, blob: Descriptor | Digest | str) -> bytes:
        """Return a whole blob, verified; see `Store.get`."""
        return await _work.read_blob(self, blob)

    async def exists(self, digest: Digest | str) -> bool:
        """Return whether the blob is stored."""
        return bool(await self.sizes([digest]))

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the `Info` of each stored digest, with one lookup after another."""
        await _work.checkpoint()
        found = {}
        for digest in [_work.Digest.parse(digest) for digest in digests]:
            try:
                found[digest] = await self.info(digest)
            except _work.NotFound:
                continue
        return found

    async def sizes(self, digests: Iterable[Digest | str]) -> dict[Digest, int]:
        """Return the size in bytes of each stored digest, by `infos`."""
        return {digest: info.size for digest, info in (await self.infos(digests)).items()}
