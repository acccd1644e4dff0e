"""Garbage collection: its values, its settings, and its repetition in a service. `Store.collect` runs one collection.

A **root** keeps a blob, and a kept blob keeps all blobs that it names. A blob that no root keeps is **garbage**. It is removed when it has
been garbage for the grace time.

| Root | Keeps |
| --- | --- |
| an image name | its target, unless the name has a label ``containerd.io/gc.expire`` whose time has passed |
| a blob with a label ``containerd.io/gc.root`` that is not empty | that blob, unless its label ``containerd.io/gc.expire`` has a time that has passed |
| a lease | its blobs and its ingests, until it ends. With a label ``containerd.io/gc.flat``, it does not keep the blobs that these blobs name |
| an ingest | the blob that it `expected` |

A blob names:

* as an index or a manifest: the descriptors in ``manifests``, ``config``, ``layers`` and ``blobs``, and its ``subject``. The subject keeps
  the manifest in turn, so a signature stays as long as its image.
* with a label ``containerd.io/gc.ref.content``, ``containerd.io/gc.ref.content.X`` or ``containerd.io/gc.ref.content/X``: the digest that is its value.

A reference that is not a digest is reported in `Collected.warnings` and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, Protocol, Self

import anyio
import msgspec

from steelyard.digest import Digest
from steelyard.errors import CollectionBusy, InvalidArgument
from steelyard.model import OnProgress, Progress
from steelyard.options import check_size

__all__ = (
    "DEFAULT_GRACE",
    "DEFAULT_INGEST_AGE",
    "CollectDefaults",
    "CollectOptions",
    "Collected",
    "Garbage",
    "Kept",
    "OnGarbage",
    "Reason",
    "Root",
    "RootKind",
    "collect_every",
)

DEFAULT_GRACE = timedelta(hours=24)
"""The default time for which garbage stays. The caller or a setting of the store can change it."""

DEFAULT_INGEST_AGE = timedelta(days=7)
"""The default time for which an ingest without a writer stays. The caller or a setting of the store can change it."""

RootKind = Literal["image name", "label", "lease", "ingest"]
"""The kinds of roots, in the order in which a collection follows them. Leases with a label ``containerd.io/gc.flat`` come last."""


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """A cause that keeps a blob by itself, not through another blob.

    Attributes:
        kind: an image name, a label ``containerd.io/gc.root``, a lease, or an ingest that `expected` the blob.
        name: the image name, the digest of the labelled blob, the ID of the lease, or the ref of the ingest.
        until: the time at which the root ends by itself (UTC), or None if it does not.
    """

    kind: RootKind
    name: str
    until: datetime | None = None


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a blob is kept, or since when it is garbage.

    Attributes:
        digest: the blob.
        root: the first root that keeps it, in the order of `RootKind`, or None for garbage. A root that keeps it only because a document
            refers to a kept blob as its `subject` comes after the others.
        chain: the blobs from the blob that the root names to this one; each names the next. Empty for garbage.
        since: the time when a collection first found that no root keeps it (UTC). None: no collection has found this, or a root keeps it.
    """

    digest: Digest
    root: Root | None = None
    chain: tuple[Digest, ...] = ()
    since: datetime | None = None


class Garbage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A blob that no root keeps.

    Attributes:
        digest: its name.
        size: its length in bytes.
        since: the time when a collection first found that no root keeps it (UTC). None: this collection was the first.
        goes: whether the collection removes it, or would in a dry run. False: the grace time has not passed, garbage that stays
            names it, a writer is about to publish it, or `max_bytes` does not need its space.
    """

    digest: Digest
    size: int
    since: datetime | None
    goes: bool


OnGarbage = Callable[[Garbage], object]
"""A callback in the event loop's thread. It must not block."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The number of stored blobs that roots keep. A blob counts once: for the first kind of root that keeps it.

    Attributes:
        image_names: kept by image names.
        labels: kept by labels ``containerd.io/gc.root``.
        leases: kept by leases.
        ingests: kept by ingests.
    """

    image_names: int = 0
    labels: int = 0
    leases: int = 0
    ingests: int = 0

    @property
    def blobs(self) -> int:
        """All blobs that roots keep."""
        return self.image_names + self.labels + self.leases + self.ingests


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a collection.

    Attributes:
        blobs: blobs that were removed, or would be in a dry run.
        bytes: their bytes.
        ingests: abandoned ingests that were removed, or would be.
        kept: the blobs that roots keep.
        spared: garbage that stays; see `Garbage.goes`.
        spared_bytes: its bytes.
        missed_bytes: the number of bytes above `max_bytes` after the collection, or 0.
        warnings: at most 100 readable sentences about malformed documents and references that were ignored.
        dry_run: whether it was a dry run.
    """

    blobs: int = 0
    bytes: int = 0
    ingests: int = 0
    kept: Kept = Kept()
    spared: int = 0
    spared_bytes: int = 0
    missed_bytes: int = 0
    warnings: tuple[str, ...] = ()
    dry_run: bool = False


class CollectDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """The default times of a store's collections.

    Attributes:
        grace: the age that garbage must have.
        ingest_age: the age after which an ingest without a writer is abandoned.
    """

    grace: timedelta = DEFAULT_GRACE
    ingest_age: timedelta = DEFAULT_INGEST_AGE

    @staticmethod
    def check(grace: timedelta | None, ingest_age: timedelta | None) -> None:
        """Check times that a caller gives.

        Raises:
            InvalidArgument: one of them is negative.
        """
        for name, age in (("grace", grace), ("ingest_age", ingest_age)):
            if age is not None and age < timedelta():
                raise InvalidArgument(f"{name} {age}: expected 0 or more")

    def changed(self, grace: timedelta | None, ingest_age: timedelta | None) -> Self:
        """Return these times, with each replaced by the given time unless that is None."""
        return type(self)(
            grace=self.grace if grace is None else grace,
            ingest_age=self.ingest_age if ingest_age is None else ingest_age,
        )


class CollectOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a collection; `Store.collect` documents each of them.

    Attributes:
        grace: the age that garbage must have, or None for the store's.
        max_bytes: the most bytes that the store is to have, or None to remove all garbage.
        ingest_age: the age after which an ingest is abandoned, or None for the store's.
        dry_run: whether nothing is changed.
        accept_roots: whether to collect although roots may be missing.
        take_back: whether to collect although another program has collected until now.
        on_garbage: called with `Garbage`, or None.
        on_progress: called with `Progress`, or None.
    """

    grace: timedelta | None = None
    max_bytes: int | None = None
    ingest_age: timedelta | None = None
    dry_run: bool = False
    accept_roots: bool = False
    take_back: bool = False
    on_garbage: OnGarbage | None = None
    on_progress: OnProgress | None = None

    @classmethod
    def parse(
        cls,
        *,
        grace: timedelta | None = None,
        max_bytes: int | None = None,
        ingest_age: timedelta | None = None,
        dry_run: bool = False,
        accept_roots: bool = False,
        take_back: bool = False,
        on_garbage: OnGarbage | None = None,
        on_progress: OnProgress | None = None,
    ) -> Self:
        """Check the arguments of `Store.collect`.

        Raises:
            InvalidArgument: a time or a size is out of range.
        """
        check_size(max_bytes)
        CollectDefaults.check(grace, ingest_age)
        return cls(
            grace=grace,
            max_bytes=max_bytes,
            ingest_age=ingest_age,
            dry_run=dry_run,
            accept_roots=accept_roots,
            take_back=take_back,
            on_garbage=on_garbage,
            on_progress=on_progress,
        )

    def report(self, phase: Literal["mark", "remove"], done: int, total: int | None = None) -> None:
        """Report progress to the caller, if the caller asked for it."""
        if self.on_progress is not None:
            self.on_progress(Progress(phase=phase, name="collection", done=done, total=total))

    def found(self, garbage: Garbage) -> None:
        """Report garbage to the caller, if the caller asked for it."""
        if self.on_garbage is not None:
            self.on_garbage(garbage)


class _Collects(Protocol):
    """The method of `steelyard.content.Collector` that `collect_every` needs. This module must not import that class."""

    async def collect(
        self, *, grace: timedelta | None = None, max_bytes: int | None = None, ingest_age: timedelta | None = None
    ) -> Collected: ...


async def collect_every(
    store: _Collects,
    interval: timedelta,
    *,
    grace: timedelta | None = None,
    max_bytes: int | None = None,
    ingest_age: timedelta | None = None,
    on_collected: Callable[[Collected], object] | None = None,
    on_error: Callable[[Exception], object] | None = None,
) -> None:
    """Collect garbage at intervals until it is cancelled. Start it in a task group of a service.

    ```python
    tasks.start_soon(collect_every, store, timedelta(hours=1))
    ```

    The first collection starts after one interval, and each other one an interval after the end of the one before. If another process
    is collecting, its collection counts.

    Args:
        store: the store.
        interval: the time between two collections.
        grace: see `Store.collect`; so are `max_bytes` and `ingest_age`.
        on_collected: called with each result.
        on_error: called with each error of a collection; the next collection is still made. None: the error is raised.

    Raises:
        InvalidArgument: the interval is not positive, or a time or a size is negative; at once.
        Exception: any error of `Store.collect` except `CollectionBusy`, without `on_error`.
    """
    if interval <= timedelta():
        raise InvalidArgument(f"interval {interval}: expected more than 0")
    CollectOptions.parse(grace=grace, max_bytes=max_bytes, ingest_age=ingest_age)
    while True:
        await anyio.sleep(interval.total_seconds())
        try:
            collected = await store.collect(grace=grace, max_bytes=max_bytes, ingest_age=ingest_age)
        except CollectionBusy:
            continue
        except Exception as error:
            if on_error is None:
                raise
            on_error(error)
        else:
            if on_collected is not None:
                on_collected(collected)
