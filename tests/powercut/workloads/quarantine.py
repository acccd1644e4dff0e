"""Blobs that are damaged on the disk, found by a verification and moved aside, and stored again."""

from __future__ import annotations

import os

from powercut.history import Change
from powercut.work import Work, blob, digest_of
from steelyard import DataCorrupt, LocalStore


async def run(work: Work) -> None:
    async with work.store() as store:
        for number in range(8):
            data, labels = work.data(300, 300_000), work.labels()
            begun = work.position()
            await store.put(data, labels=labels)
            work.acknowledged(begun, blob(data, labels))
            await quarantine(work, store, data, by_all=number == 3)
            if work.chance.random() < 0.6:
                labels = work.labels()
                begun = work.position()
                await store.put(data, labels=labels)
                work.acknowledged(begun, blob(data, labels))


async def quarantine(work: Work, store: LocalStore, data: bytes, *, by_all: bool) -> None:
    """Damage a blob, and have it found."""
    change = blob(data, None, {})
    digest = digest_of(data)
    begun = work.position()
    damage(store, digest, data, work.chance.randrange(len(data)))
    if by_all:
        found = [done.digest async for done in store.verify_all() if done.error is not None]
        assert digest in map(str, found)
    else:
        try:
            await store.verify(digest)
        except DataCorrupt:
            pass
        else:
            raise AssertionError("the damage was not found")
    # Until then it may be there, damaged, or be moved aside.
    work.acknowledged(begun, change, Change(f"damage:{digest}", None, [True]))


def damage(store: LocalStore, digest: str, data: bytes, at: int) -> None:
    """Change a byte on the disk, behind the store's back."""
    path = store.path / "blobs" / digest.replace(":", "/")
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 1]))
        file.flush()
        os.utime(file.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
        os.fsync(file.fileno())
