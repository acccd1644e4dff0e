"""Garbage collection, in steps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Literal, cast

import msgspec

from steelyard import _native
from steelyard._runtime.fork import ProcessBound
from steelyard.collection import (
    CollectDefaults,
    Collected,
    CollectOptions,
    Garbage,
    Kept,
    Reason,
    Root,
    RootKind,
)
from steelyard.digest import Digest
from steelyard.local.blocking._rows import to_time

__all__ = ("BlockingCollection", "BlockingWhy", "CollectStep", "collect_defaults")


_MOST_NS = (1 << 63) - 1


class CollectStep(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one step of a collection.

    Attributes:
        ended: whether it was the last one.
        found: the garbage that the step found or removed.
        phase: the current phase.
        done: the progress within the phase: blobs in phase ``mark``, bytes in phase ``remove``.
        total: the value that `done` reaches at the end of the phase, or None if unknown.
    """

    ended: bool
    found: list[Garbage]
    phase: Literal["mark", "remove"]
    done: int
    total: int | None


class BlockingCollection(ProcessBound):
    """A collection in progress; see `Collector.collect`. The caller must close it, even if it has not ended."""

    def __init__(self, native: _native.Collection, options: CollectOptions) -> None:
        self._native = native
        self._options = options

    @classmethod
    def start(cls, store: _native.Store, options: CollectOptions) -> BlockingCollection:
        """Start a collection of a store. Raises the errors of `Collector.collect`."""
        times = collect_defaults(store).changed(options.grace, options.ingest_age)
        native = store.collection(
            grace=_ns(times.grace),
            ingest_age=_ns(times.ingest_age),
            max_bytes=options.max_bytes,
            dry_run=options.dry_run,
            accept_roots=options.accept_roots,
            take_back=options.take_back,
        )
        return cls(native, options)

    def step(self) -> CollectStep:
        """Work for about 5 ms."""
        ended, found, (removes, done, total) = self._native.step()
        garbage = [
            Garbage(digest=Digest.parse(digest), size=size, since=None if since is None else to_time(since), goes=goes)
            for digest, size, since, goes in found
        ]
        return CollectStep(ended=ended, found=garbage, phase="remove" if removes else "mark", done=done, total=total)

    def result(self) -> Collected:
        """Return the result of a collection that has ended."""
        blobs, size, abandoned, kept, spared, spared_bytes, missed_bytes, warnings = self._native.report()
        image_names, labels, leases, expected = kept
        return Collected(
            blobs=blobs,
            bytes=size,
            ingests=abandoned,
            kept=Kept(image_names=image_names, labels=labels, leases=leases, ingests=expected),
            spared=spared,
            spared_bytes=spared_bytes,
            missed_bytes=missed_bytes,
            warnings=tuple(warnings),
            dry_run=self._options.dry_run,
        )

    def close(self) -> None:
        """End the collection, at whatever step it is. May be called twice."""
        self._native.close()


class BlockingWhy(ProcessBound):
    """Finds out why blobs are kept; see `Collector.why`. The caller must close it, even if it is not finished."""

    def __init__(self, native: _native.Why) -> None:
        self._native = native

    @classmethod
    def start(cls, store: _native.Store, digests: Iterable[Digest | str]) -> BlockingWhy:
        """Start to find out why a store keeps these blobs."""
        return cls(store.why([str(digest) for digest in digests]))

    def step(self) -> bool:
        """Work for about 5 ms, and return whether the reasons of all blobs are known."""
        return self._native.step()

    def reasons(self) -> dict[Digest, Reason]:
        """Return the reasons of those blobs that are stored."""
        return dict(map(_to_reason, self._native.reasons()))

    def close(self) -> None:
        """End the work, at whatever step it is. May be called twice."""
        self._native.close()


def collect_defaults(
    store: _native.Store, grace: timedelta | None = None, ingest_age: timedelta | None = None
) -> CollectDefaults:
    """Set those default times of collections that are not None, and return both; see `Collector.set_collect_defaults`."""
    ns = store.collect_defaults(
        grace=None if grace is None else _ns(grace), ingest_age=None if ingest_age is None else _ns(ingest_age)
    )
    return CollectDefaults().changed(*map(_to_time, ns))


def _ns(time: timedelta) -> int:
    return min(time // timedelta(microseconds=1) * 1000, _MOST_NS)


def _to_time(ns: int | None) -> timedelta | None:
    return None if ns is None else timedelta(microseconds=ns // 1000)


def _to_reason(row: tuple[str, tuple[str, str, int | None] | None, list[str], int | None]) -> tuple[Digest, Reason]:
    text, root_row, chain, since = row
    digest, root = Digest.parse(text), None
    if root_row is not None:
        kind, name, until = root_row
        root = Root(kind=cast("RootKind", kind), name=name, until=None if until is None else to_time(until))
    reason = Reason(
        digest=digest,
        root=root,
        chain=tuple(map(Digest.parse, chain)),
        since=None if since is None else to_time(since),
    )
    return digest, reason
