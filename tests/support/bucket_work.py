"""A program that works on a store in a bucket beside others: a writer, or a collector. `tests/objects/test_processes.py` starts it."""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import anyio

from steelyard.errors import CollectionBusy
from steelyard.model import Descriptor
from steelyard.objects import ObjectStore
from steelyard.testing._collecting import document
from steelyard.testing._values import data_of

LAYERS = 12
"""Different blobs that all writers store again and again."""


async def write(store: ObjectStore, rounds: int, seed: int) -> None:
    """Import small images under leases, check each, and remove every other one."""
    chance = random.Random(seed)  # reproducible
    for number in range(rounds):
        name = f"image {seed % 3}"
        async with store.lease() as leased:
            layers = [(await leased.put(data_of(2000, chance.randrange(LAYERS)))).digest for _ in range(3)]
            manifest = (await leased.put(document(layers=layers, number=chance.randrange(4)))).digest
            promised = {*layers, manifest}
            missing = promised - (await leased.infos(promised)).keys()
            assert not missing, f"under a lease: {missing}"
            await leased.images.assign({f"own {seed}": Descriptor(digest=manifest)}, overwrite=True)
            await leased.images.assign({name: Descriptor(digest=manifest)}, overwrite=True)
        missing = promised - (await store.infos(promised)).keys()
        assert not missing, f"under a name: {missing}"
        for digest in promised:
            await store.get(digest)
        if number % 2:
            await store.images.delete(f"own {seed}")


async def collect(store: ObjectStore, stop: Path) -> None:
    """Collect without a grace time until a file is there, and print what was removed."""
    removed = done = 0
    while not await anyio.Path(stop).exists():
        with suppress(CollectionBusy):
            removed += (await store.collect(grace=timedelta(0))).blobs
            done += 1
        await anyio.sleep(0.01)
    print(done, removed)  # for the test


async def main(*arguments: str) -> None:
    """Open the store and do the work."""
    address, spool, kind, argument, seed = arguments
    async with ObjectStore(address, spool=spool) as store:
        if kind == "write":
            await write(store, int(argument), int(seed))
        else:
            await collect(store, Path(argument))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[2:], backend=sys.argv[1])
