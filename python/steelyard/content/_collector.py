"""The interface of garbage collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard._lazy import Module as _Module

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import timedelta

    from steelyard import collection as _collection
    from steelyard import digest as _digest
    from steelyard import errors as _errors
    from steelyard.collection import CollectDefaults, Collected, CollectOptions, OnGarbage, Reason
    from steelyard.digest import Digest
    from steelyard.model import OnProgress
else:
    _collection, _digest, _errors = map(_Module, ("steelyard.collection", "steelyard.digest", "steelyard.errors"))

__all__ = ("Collector",)


class Collector:
    """Removes blobs that no root needs any more, and reports why a blob is kept. The rules are in `steelyard.collection`.

    A collection never starts by itself; `steelyard.collection.collect_every` repeats it in a service.
    """

    # The hooks of `collect`, `collect_defaults`, `why` and `reasons`, called with parsed arguments. Those of `BaseStore` raise Unsupported.
    _collect: Callable[[CollectOptions], Awaitable[Collected]]
    _collect_defaults: Callable[[timedelta | None, timedelta | None], Awaitable[CollectDefaults]]
    _reasons: Callable[[Sequence[Digest]], Awaitable[dict[Digest, Reason]]]

    # Called when a service starts. The argument names the program that collects the garbage from now on.
    _serve: Callable[[str | None], Awaitable[None]]

    async def collect(
        self,
        *,
        grace: timedelta | None = None,
        max_bytes: int | None = None,
        ingest_age: timedelta | None = None,
        dry_run: bool = False,
        accept_roots: bool = False,
        take_back: bool = False,
        on_garbage: OnGarbage | None = None,
        on_progress: OnProgress | None = None,
    ) -> Collected:
        """Remove the blobs that no root keeps, beside all other work on the store, and return what was removed.

        A root is an image name, a label ``containerd.io/gc.root``, a lease or an ingest. A root keeps a blob, and that blob keeps the
        blobs that it names. A blob that is neither kept nor younger than the grace time is removed: a document never later than
        the blobs that it names.

        Args:
            grace: the age that garbage must have, counted from the collection that first found it. So a blob that is stored
                without a lease stays at least that long, and a blob that is stored or found again is no longer garbage. None: the
                time of `collect_defaults`, initially 24 hours. Zero: no grace time, so only roots protect blobs.
            max_bytes: remove garbage only until the blobs of the store have at most this many bytes, the least recently
                used garbage first. A `LocalStore` records a use at most once an hour for each blob. None: all garbage.
            ingest_age: remove ingests that no writer holds, that no lease protects and that have not changed for this time. None:
                the time of `collect_defaults`, initially seven days.
            dry_run: change nothing, and return what a collection would remove.
            accept_roots: collect although roots may be missing, after a person has looked at a dry run; see `CollectionRefused`. A
                dry run never refuses for that reason.
            take_back: collect although the store was served to a containerd that collects its blobs. From then on this store collects
                them again. Blobs that the containerd still needs may be removed, so look at a dry run first. Refused while a
                service for the containerd has the store open.
            on_garbage: called with each `Garbage` in the event loop's thread, after it was removed; in a dry run also with garbage
                that stays. It must not block.
            on_progress: called with `Progress`. `done` counts blobs in phase ``mark``, and bytes in phase ``remove``.

        Raises:
            CollectionRefused: the store cannot know which blobs are needed. Nothing was removed.
            CollectionBusy: another collection of this store is running, and the error says in which process.
            DataCorrupt: a document that may name blobs is damaged, or the metadata is. Nothing was removed.
            Unsupported: the store does not collect, or was opened read-only.
            InvalidArgument: a time or a size is negative.
            StorageError: blobs that were removed before stay removed.

        Cancellation:
            Ends at the next step. Blobs that were removed stay removed, all other garbage stays for the next collection.
        """
        options = _collection.CollectOptions.parse(
            grace=grace,
            max_bytes=max_bytes,
            ingest_age=ingest_age,
            dry_run=dry_run,
            accept_roots=accept_roots,
            take_back=take_back,
            on_garbage=on_garbage,
            on_progress=on_progress,
        )
        return await self._collect(options)

    async def collect_defaults(self) -> CollectDefaults:
        """Return the times that `collect` uses by default. They are settings of the store, and hold for every process that collects it.

        Raises:
            Unsupported: the program behind the store collects, with its own settings.
        """
        return await self._collect_defaults(None, None)

    async def set_collect_defaults(
        self, *, grace: timedelta | None = None, ingest_age: timedelta | None = None
    ) -> CollectDefaults:
        """Set the times that `collect` uses by default, for every process that collects the store, and return both.

        On return the change survives a power loss. A collection that is running keeps its times. A shorter grace time also holds for
        blobs that are already stored.

        Args:
            grace: the age that garbage must have; None leaves it as it is.
            ingest_age: the age after which an ingest without a writer is abandoned; None leaves it as it is.

        Raises:
            InvalidArgument: a time is negative.
            Unsupported: the store does not keep such settings, or was opened read-only.
            StorageError: the setting cannot be written.
        """
        _collection.CollectDefaults.check(grace, ingest_age)
        return await self._collect_defaults(grace, ingest_age)

    async def why(self, digest: Digest | str) -> Reason:
        """Return why a blob is kept, or since when it is garbage; see `Reason`. The call changes nothing.

        Raises:
            NotFound: the blob is not stored.
            DataCorrupt: a document that may name blobs is damaged.
            Unsupported: the store does not collect.
        """
        name = _digest.Digest.parse(digest)
        found = await self._reasons([name])
        if name not in found:
            raise _errors.NotFound(name)
        return found[name]

    async def reasons(self, digests: Iterable[Digest | str]) -> dict[Digest, Reason]:
        """Return the `Reason` of each stored digest; one call reads the roots once for all of them. Raises as `why`."""
        return await self._reasons([_digest.Digest.parse(digest) for digest in digests])
