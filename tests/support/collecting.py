"""Processes that store and collect at the same time: `python collecting.py BACKEND ROOT write SEED SLOT` or `… collect SEED`.

Each works until it is killed, and moves its own wall clock by a day now and then. A writer checks after each step what it was told; an error
ends it and says which promise was broken. It writes a line before and after each change that outlives it, so that the test that kills it knows
what has to be there, and a line with the number of its operations. A writer takes over the image names of its slot from the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from steelyard import AlreadyExists, Descriptor, Digest, LocalStore
from steelyard.collection import DEFAULT_INGEST_AGE
from steelyard.errors import CollectionBusy, LeaseEnded, NotFound
from steelyard.images import import_images
from steelyard.transfer import write_blob
from support import own_clock
from support.make_archives import layout, one_image, tar

AT_ONCE = timedelta(0)
DAY = 86_400
BLOBS = 12
"""Contents that all writers share, so that many are found as garbage of others."""


class Lost(Exception):
    """A promise was broken."""


def content(number: int) -> bytes:
    """Return the bytes of a blob; some are larger than what stores hold in memory."""
    return random.Random(number).randbytes(40 if number % 4 else 300_000)


CONTENTS = [content(number) for number in range(BLOBS)]
DIGESTS = [Digest.parse(f"sha256:{hashlib.sha256(data).hexdigest()}") for data in CONTENTS]


def boot_seconds() -> float:
    """Return the time since the boot, which no process can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(*words: object) -> None:
    """Write one line at once: it is read when the process is dead."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


@dataclass
class Leased:
    """A lease with an ID, and what was entered into it."""

    lease: str
    lasts_until: float
    """By the clock since the boot: until then it may not end."""
    digests: list[Digest] = field(default_factory=list)


@dataclass
class Writer:
    """One writer."""

    store: LocalStore
    slot: int
    chance: random.Random
    folder: Path
    leases: list[Leased] = field(default_factory=list)
    operations: int = 0
    clock: int = 0

    async def run(self) -> None:
        """Do one piece of work after another."""
        works = [self.name_image] * 6 + [self.use_lease] * 3 + [self.bring] * 2
        await self.check_names()
        while True:
            if self.chance.random() < 0.1:
                self.clock = move_clock(self.chance)
            before = self.operations
            await self.chance.choice(works)()
            say("did", self.operations - before)

    def own_name(self, tag: str) -> str:
        """Return an image name that no writer of another slot uses."""
        return f"docker.io/library/slot{self.slot}:{tag}"

    async def check_names(self) -> None:
        """Check the whole of each image of this slot, also those that a killed writer named."""
        for image in await self.store.images.list():
            if image.name.startswith(self.own_name("")):
                document = json.loads(await self.store.get(image.target.digest))
                await self.check(
                    [Digest.parse(each["digest"]) for each in document["layers"]], f"survived in {image.name}"
                )
                self.operations += 1

    async def name_image(self) -> None:
        """Store an image of shared blobs under a lease, name it, check it, and remove some names again."""
        name = self.own_name(str(self.chance.randrange(2)))
        async with self.store.lease() as leased:
            digests = await self.store_some(leased, 4)
            await self.check(digests, "stored under a lease")
            root = (
                await leased.put(json.dumps({"layers": [{"digest": str(each)} for each in digests]}).encode())
            ).digest
            say("naming", name)
            await leased.images.assign({name: Descriptor(digest=root)}, overwrite=True)
            say("named", name, root)
        await self.check([root, *digests], f"named {name}")
        for each in digests[:2]:
            await self.store.get(each)
        self.operations += 4
        if self.chance.random() < 0.5:
            say("naming", name)
            await self.store.images.delete(name)
            self.operations += 1

    async def use_lease(self) -> None:
        """Store blobs under a lease with an ID, new or older, which may end meanwhile but never too early; end some."""
        held = self.chance.choice([*self.leases, None]) if len(self.leases) < 4 else self.chance.choice(self.leases)
        if held is None:
            lasts = self.chance.choice((0.05, 0.5, 5, 3600))
            until = boot_seconds() + lasts
            labels = {"ahead": "1"} if self.clock > 0 else {}
            lease = await self.store.leases.create(expires=timedelta(seconds=lasts), labels=labels)
            held = Leased(lease.id, until)
            self.leases.append(held)
            self.operations += 1
        try:
            digests = await self.store_some(self.store.with_lease(held.lease), 3)
        except LeaseEnded:
            self.leases.remove(held)
            if boot_seconds() < held.lasts_until:
                raise
            return
        held.digests += digests
        say("leased", held.lease, held.lasts_until, *digests)
        there = await self.store.infos(held.digests)
        if boot_seconds() < held.lasts_until and set(held.digests) - there.keys():
            raise Lost(f"lease {held.lease}: {sorted(map(str, set(held.digests) - there.keys()))}")
        self.operations += 1
        if self.chance.random() < 0.2:
            self.leases.remove(held)
            say("ending", held.lease)
            with suppress(NotFound):  # it has ended
                await self.store.leases.delete(held.lease)
            self.operations += 1

    async def bring(self) -> None:
        """Import an archive of shared blobs, and check it."""
        name = self.own_name("imported")
        number = self.chance.randrange(BLOBS)
        layers = [number, (number + 1) % BLOBS]
        index, _, blobs = one_image([CONTENTS[each] for each in layers])
        archive = self.folder / f"{self.slot}.tar"
        archive.write_bytes(tar(layout(index, blobs)))
        say("naming", name)
        imported = await import_images(self.store, archive, name=name, overwrite=True)
        say("named", name, imported.images[0].target.digest)
        await self.check([DIGESTS[each] for each in layers], f"imported {name}")
        self.operations += len(blobs) + 1

    async def store_some(self, store: LocalStore, count: int) -> list[Digest]:
        """Store some of the shared blobs, each in one of the ways that may find it already stored."""
        numbers = self.chance.sample(range(BLOBS), count)
        for number in numbers:
            await self.store_one(store, CONTENTS[number], DIGESTS[number])
            self.operations += 1
        return [DIGESTS[number] for number in numbers]

    async def store_one(self, store: LocalStore, data: bytes, digest: Digest) -> None:
        match self.chance.randrange(5):
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

    async def check(self, digests: list[Digest], what: str) -> None:
        lost = set(digests) - (await self.store.infos(digests)).keys()
        self.operations += 1
        if lost:
            raise Lost(f"{what}: {sorted(map(str, lost))}")


def move_clock(chance: random.Random) -> int:
    """Set the wall clock of this process a day ahead, a day back, or right; return by how many seconds."""
    seconds = chance.choice((-DAY, 0, DAY)) if own_clock.CAN_MOVE else 0
    if own_clock.CAN_MOVE:
        own_clock.move(seconds)
        say("clock", seconds)
    return seconds


async def collect(store: LocalStore, chance: random.Random) -> None:
    """Collect again and again without a grace time, also ingests without a writer."""
    while True:
        if chance.random() < 0.1:
            move_clock(chance)
        ingest_age = AT_ONCE if chance.random() < 0.3 else DEFAULT_INGEST_AGE
        with suppress(CollectionBusy):
            result = await store.collect(grace=AT_ONCE, ingest_age=ingest_age)
            say("collected", result.blobs)


async def main(root: str, work: Callable[[LocalStore], Coroutine[Any, Any, None]]) -> None:
    """Open the store and work."""
    async with LocalStore(root, durability="process-crash") as store:
        await work(store)


if __name__ == "__main__":
    backend, root, action, seed, *rest = sys.argv[1:]
    chance = random.Random(int(seed))
    if own_clock.CAN_MOVE:
        own_clock.move(0)

    async def write(store: LocalStore) -> None:
        """Write as the command line says."""
        await Writer(store, int(rest[0]), chance, Path(root).parent).run()

    anyio.run(main, root, partial(collect, chance=chance) if action == "collect" else write, backend=backend)
