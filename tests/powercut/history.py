"""The history of a store: the calls that workloads report, and the values that a power cut may leave.

Each store on the disk has keys of its own. The value of a key is None where there is nothing, and otherwise:

| Key | Value |
| --- | --- |
| `blob:DIGEST` | its labels |
| `name:NAME` | the digest of its target |
| `ingest:REF` | `content`, `size` (see `content`), and `offset`: what was acknowledged of them |
| `file:PATH`, below the mounted disk | the SHA-256 of its bytes |
| `lease:ID` | its labels |
| `entry:ID DIGEST` | true: the lease protects the blob |
| `damage:DIGEST` | true: the workload has damaged the blob |
| `parts:DIGEST` | the digests that this document names; that never changes |
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = ("Change", "History", "Record", "content")


class Change(msgspec.Struct, frozen=True):
    """A key and its value after the call; other values that it may have after a power cut during the call, and from then on."""

    key: str
    value: Any
    during: list[Any] = []
    later: list[Any] = []


class Record(msgspec.Struct, frozen=True):
    """A call: the number of operations on the disk before it began and when it was acknowledged, and what it changed.

    Of the keys in `either`, one at least is there after a power cut during the call, if one was there before it.
    """

    begun: int
    ended: int
    changes: list[Change]
    either: list[str] = []
    store: str = "store"


class History:
    """All records of a run. Calls that change the same key follow each other."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = sorted(records, key=lambda record: record.ended)
        self._changes: dict[str, list[tuple[Record, Change]]] = {}
        for record in self.records:
            for change in record.changes:
                self._changes.setdefault(change.key, []).append((record, change))

    def of(self, store: str) -> History:
        """Return the calls that changed that store."""
        return History(record for record in self.records if record.store == store)

    def keys(self, kind: str) -> list[str]:
        """Return all keys of a kind that any call changed."""
        return [key for key in self._changes if key.startswith(f"{kind}:")]

    def parts(self, digest: str) -> list[str]:
        """Return the digests that a document names."""
        return [part for _, change in self._of(f"parts:{digest}") for part in change.value]

    def last(self, key: str, at: int) -> Change:
        """Return the change that was acknowledged last."""
        return next((change for record, change in reversed(self._of(key)) if record.ended <= at), Change(key, None))

    def acknowledged(self, key: str, at: int) -> Any:
        """Return the value that was acknowledged last."""
        return self.last(key, at).value

    def allowed(self, key: str, at: int) -> list[Any]:
        """Return the values that a key may have after a power cut at that number of operations."""
        last = self.last(key, at)
        found = [last.value, *last.later]
        for record, change in self._of(key):
            if record.begun < at < record.ended:
                found += [change.value, *change.during, *change.later]
        return found

    def pending(self, at: int) -> list[Record]:
        """Return the calls under way."""
        return [record for record in self.records if record.begun < at < record.ended]

    def under_way(self, at: int) -> set[str]:
        """Return the keys that calls under way change."""
        return {change.key for record in self.pending(at) for change in record.changes}

    def _of(self, key: str) -> list[tuple[Record, Change]]:
        return self._changes.get(key, [])


def content(seed: str, size: int) -> bytes:
    """Return the bytes that a workload gave under that seed; `hex:` is followed by the bytes themselves."""
    if seed.startswith("hex:"):
        return bytes.fromhex(seed.removeprefix("hex:"))
    return random.Random(seed).randbytes(size)
