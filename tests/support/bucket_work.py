"""A program that works on a store in a bucket beside others: a writer, or a collector. `tests/objects/test_processes.py` starts it, and
`tests/objects/test_kills.py` kills it.
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio

from steelyard.digest import Digest
from steelyard.errors import CollectionBusy, NotFound, ServerRefused, Unreachable
from steelyard.model import Descriptor
from steelyard.objects import ObjectStore, _batches, _watch
from steelyard.testing._collecting import document
from steelyard.testing._values import data_of

LAYERS = 12
"""Different blobs that all writers store again and again."""

LARGE = 9 << 20
"""The size of a blob that is uploaded in parts."""

AWAY = (Unreachable, ServerRefused)
"""Errors of a server that is killed, or has just been started."""


def say(*words: object) -> None:
    """Write one line at once: it is read when the process is dead."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def import_image(store: ObjectStore, chance: random.Random, slot: int, *, large: float = 0) -> set[Digest]:
    """Import a small image under a lease, name it twice, check it, and return its blobs.

    Args:
        store: the store.
        chance: chooses the blobs.
        slot: the number of this writer. No other writer uses the name of its own.
        large: the share of images with a large blob.
    """
    own = f"own {slot}"
    async with store.lease() as leased:
        layers = [(await leased.put(data_of(2000, chance.randrange(LAYERS)))).digest for _ in range(3)]
        if chance.random() < large:
            layers.append((await leased.put(data_of(LARGE, chance.randrange(3)), ref=own)).digest)
        manifest = (await leased.put(document(layers=layers, number=chance.randrange(4)))).digest
        promised = {*layers, manifest}
        missing = promised - (await leased.infos(promised)).keys()
        assert not missing, f"under a lease: {missing}"
        say("naming", own)
        await leased.images.assign({own: Descriptor(digest=manifest)}, overwrite=True)
        say("named", own, manifest)
        await leased.images.assign({f"image {slot % 3}": Descriptor(digest=manifest)}, overwrite=True)
    missing = promised - (await store.infos(promised)).keys()
    assert not missing, f"under a name: {missing}"
    for digest in promised:
        await store.get(digest)
    return promised


async def write(store: ObjectStore, rounds: int, slot: int) -> None:
    """Import images, and remove the name of every other one."""
    chance = random.Random(slot)  # reproducible
    for number in range(rounds):
        await import_image(store, chance, slot)
        if number % 2:
            await store.images.delete(f"own {slot}")


async def write_on(store: ObjectStore, seed: int, slot: int) -> None:
    """Import images until killed, also while the server is away for a moment; remove some names."""
    chance = random.Random(seed)  # reproducible
    while True:
        with suppress(*AWAY):
            await import_image(store, chance, slot, large=0.2)
            if chance.random() < 0.3:
                say("naming", f"own {slot}")
                with suppress(NotFound):
                    await store.images.delete(f"own {slot}")
                say("removed", f"own {slot}")


async def collect(store: ObjectStore, stop: Path) -> None:
    """Collect without a grace time until a file is there, and print what was removed."""
    removed = done = 0
    while not await anyio.Path(stop).exists():
        with suppress(CollectionBusy):
            removed += (await store.collect(grace=timedelta(0))).blobs
            done += 1
        await anyio.sleep(0.01)
    print(done, removed)  # for the test


async def collect_on(store: ObjectStore) -> None:
    """Collect until killed, also while the server is away for a moment."""
    while True:
        with suppress(CollectionBusy, *AWAY):
            say("collected", (await store.collect(grace=timedelta(0))).blobs)
        await anyio.sleep(0.01)


def hurry() -> None:
    """Shorten the times of the protocol, which are for machines whose clocks differ: a killed collector is soon taken for dead."""
    _batches.SIGNED_FOR, _batches.SILENT_FOR, _batches._BEAT_SECONDS = 3, 8, 1
    _watch.BATCH_EXPIRES = 6


async def main(*arguments: str) -> None:
    """Open the store and do the work."""
    address, spool, kind, argument, slot = arguments
    if kind in {"write", "collect"}:
        async with ObjectStore(address, spool=spool) as store:
            await (write(store, int(argument), int(slot)) if kind == "write" else collect(store, Path(argument)))
        return
    hurry()
    while True:
        with suppress(*AWAY):
            async with ObjectStore(address, spool=spool) as store:
                await (write_on(store, int(argument), int(slot)) if kind == "write on" else collect_on(store))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[2:], backend=sys.argv[1])
