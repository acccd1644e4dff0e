"""Processes that store and collect at the same time: `python collecting.py BACKEND ROOT write SEED ROUNDS` or `… collect`.

A writer checks what it was told after each step. It ends with exit code 0, or with an error that says which promise was broken. A collector
collects without a grace time until it is killed, and writes a line for each collection.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import anyio

from steelyard import AlreadyExists, Descriptor, Digest, LocalStore
from steelyard.errors import CollectionBusy
from steelyard.transfer import write_blob

AT_ONCE = timedelta(0)
BLOBS = 12
"""Contents that all writers share, so that many are found as garbage of others."""


class Lost(Exception):
    """A blob that was promised is gone."""


def content(number: int) -> bytes:
    """Return the bytes of a blob; some are larger than what stores hold in memory."""
    return random.Random(number).randbytes(40 if number % 4 else 300_000)


async def write(store: LocalStore, seed: int, rounds: int) -> int:
    """Store images of shared blobs, name some, and check them; return the number of operations."""
    chance = random.Random(seed)
    operations = 0
    for number in range(rounds):
        numbers = chance.sample(range(BLOBS), 4)
        name = f"{seed}/{chance.randrange(2)}"
        async with store.lease() as leased:
            digests = [await _store(leased, content(each), chance) for each in numbers]
            await _check(store, digests, "stored under a lease")
            manifest = json.dumps({"layers": [{"digest": str(each)} for each in digests]}).encode()
            root = (await leased.put(manifest)).digest
            await leased.images.assign({name: Descriptor(digest=root)}, overwrite=True)
        await _check(store, [root, *digests], f"named {name}, round {number}")
        for each in digests[:2]:
            await store.get(each)
        operations += 9
        if chance.random() < 0.5:
            await store.images.delete(name)
            operations += 1
    return operations


async def _store(store: LocalStore, data: bytes, chance: random.Random) -> Digest:
    """Store a blob in one of the ways that may find it already stored."""
    digest = Digest.parse(f"sha256:{hashlib.sha256(data).hexdigest()}")
    match chance.randrange(5):
        case 0:
            await store.put(data)
        case 1:
            await store.put(data, expected=digest)
        case 2:
            await write_blob(store, data, digest, ref=f"{os.getpid()}")
        case 3:
            async with aclosing(store.put_many([data])) as results:
                async for one in results:
                    _ = one.result
        case _:
            with suppress(AlreadyExists):
                async with store.writer(f"{os.getpid()}") as writer:
                    await writer.truncate(0)
                    await writer.write(data)
                    await writer.commit(expected=digest)
    return digest


async def _check(store: LocalStore, digests: list[Digest], what: str) -> None:
    lost = set(digests) - (await store.infos(digests)).keys()
    if lost:
        raise Lost(f"{what}: {sorted(map(str, lost))}")


async def collect(store: LocalStore) -> None:
    """Collect again and again."""
    while True:
        with suppress(CollectionBusy):
            result = await store.collect(grace=AT_ONCE)
            os.write(1, f"collected {result.blobs}\n".encode())


async def main(root: str, work: Callable[[LocalStore], Coroutine[Any, Any, int | None]]) -> None:
    """Open the store and work."""
    async with LocalStore(root, durability="process-crash") as store:
        done = await work(store)
        os.write(1, f"done {done}\n".encode())


if __name__ == "__main__":
    backend, root, action, *rest = sys.argv[1:]
    work = collect if action == "collect" else partial(write, seed=int(rest[0]), rounds=int(rest[1]))
    anyio.run(main, root, work, backend=backend)
