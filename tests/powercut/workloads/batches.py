"""Batches: a few blobs, whose files are synced one by one, and many, which share a sync of the file system."""

from __future__ import annotations

from contextlib import aclosing

from powercut.work import Work, blob


async def run(work: Work) -> None:
    async with work.store() as store:
        for count, most in ((4, 100_000), (work.chance.randint(8, 100), 3_000), (20, 50_000)):
            labels = work.labels() if work.chance.random() < 0.7 else {}
            blobs = [work.data(most) for _ in range(count)]
            begun = work.position()
            async with aclosing(store.put_many(blobs, labels=labels)) as results:
                async for done in results:
                    work.acknowledged(begun, blob(str(done.result.digest), labels))
