"""Labels that change often, in a store that is opened and closed again: the last close removes SQLite's log.

Other files are written after it, which reuse the blocks of the log where the file system has no journal.
"""

from __future__ import annotations

import itertools
import os

import msgspec

from powercut.work import Work, blob


async def run(work: Work) -> None:
    digests: list[str] = []
    numbers = itertools.count()
    for _ in range(3):
        async with work.store() as store:
            for _ in range(2):
                data, labels = work.data(2_000), work.labels()
                begun = work.position()
                digests.append(str((await store.put(data, labels=labels)).digest))
                work.acknowledged(begun, blob(data, labels))
            for _ in range(work.chance.randint(5, 25)):
                digest, labels = work.chance.choice(digests), work.labels()
                info = msgspec.structs.replace(await store.info(digest), labels=labels)
                begun = work.position()
                await store.update(info, "labels")
                work.acknowledged(begun, blob(digest, labels))
        for _ in range(work.chance.randint(0, 5)):
            write_other(work, next(numbers))
    digest = work.chance.choice(digests)
    labels = {"by": "command"}
    async with work.store() as store:
        labels |= (await store.info(digest)).labels
    begun = work.position()
    await work.command("label", digest, "by=command")
    work.acknowledged(begun, blob(digest, labels))


def write_other(work: Work, number: int) -> None:
    """Write another file. None is overwritten: its own blocks are not what is to be used again."""
    with (work.disk / f"other-{number}").open("wb") as file:
        file.write(work.data(5_000, 200_000))
        file.flush()
        os.fsync(file.fileno())
