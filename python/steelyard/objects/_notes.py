"""Notes of garbage. A note records the time since which a collection knows that no root keeps a blob.

A collection with a grace time removes only blobs whose notes are older. A note is an empty object. Its key has the time by the collector's
clock and the time of the blob's object, so a listing returns whole notes. A blob that is stored again at the same key has another time, so
an old note does not apply to it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import anyio

from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Digest
from steelyard.objects._layout import NOTES, digest_named, label_name
from steelyard.objects._requests import Object, Requests

__all__ = ("BlobNote", "Notes")

_AT_ONCE = 32

_SECOND = 10**9


class BlobNote(NamedTuple):
    """A note.

    Attributes:
        key: its key.
        digest: the blob.
        at_ns: the time of the note, by the clock of the collector.
        noted_ns: the same time by the server's clock, in whole seconds.
        blob_ns: the time at which the blob was written, by the server's clock.
    """

    key: str
    digest: Digest
    at_ns: int
    noted_ns: int
    blob_ns: int

    def is_old(self, grace: timedelta, *, wall_ns: int, server_ns: int) -> bool:
        """Return whether the note is older than a grace time. Both clocks must say so, because one of them may have been set."""
        age = grace // timedelta(microseconds=1) * 1000
        return self.at_ns + age <= wall_ns and self.noted_ns + age <= server_ns + _SECOND


class Notes:
    """The notes of a store.

    Args:
        requests: the server.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def all(self) -> dict[Digest, list[BlobNote]]:
        """Return all notes."""
        found: dict[Digest, list[BlobNote]] = {}
        pages = self._requests.pages(NOTES)
        while objects := await pages.next():
            for note in filter(None, map(_parse, objects)):
                found.setdefault(note.digest, []).append(note)
        return found

    async def of(self, digest: Digest) -> list[BlobNote]:
        """Return the notes of a blob, with one request."""
        return list(filter(None, map(_parse, await self._requests.every(f"{NOTES}{label_name(digest)}/"))))

    async def remove(self, digest: Digest) -> None:
        """Remove the notes of a blob, with one request if it has none."""
        await self.remove_all(await self.of(digest))

    async def remove_all(self, notes: list[BlobNote]) -> None:
        """Remove notes."""
        await map_concurrently([note.key for note in notes], self._requests.delete, concurrency=_AT_ONCE)

    async def make(self, blobs: dict[Digest, int], at_ns: int) -> None:
        """Make notes of blobs, each with the time of its object."""

        async def make(item: tuple[Digest, int]) -> None:
            digest, blob_ns = item
            key = f"{NOTES}{label_name(digest)}/{at_ns // 10**6:016d}-{blob_ns // _SECOND}"
            await self._requests.put(key, b"", create=False)

        await anyio.lowlevel.checkpoint()
        await map_concurrently(blobs.items(), make, concurrency=_AT_ONCE)


def _parse(found: Object) -> BlobNote | None:
    name, _, times = found.key.removeprefix(NOTES).rpartition("/")
    at, _, blob = times.partition("-")
    digest = digest_named(name)
    if digest is None or not (at.isdecimal() and blob.isdecimal()):
        return None
    return BlobNote(found.key, digest, int(at) * 10**6, found.modified_ns, int(blob) * _SECOND)
