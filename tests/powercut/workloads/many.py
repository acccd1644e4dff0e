"""Many blobs that are labelled and deleted together: one transaction and one sync for a batch."""

from __future__ import annotations

from contextlib import aclosing

from powercut.work import Work, blob


async def run(work: Work) -> None:
    async with work.store() as store:
        for _ in range(3):
            blobs = {work.data(3_000): work.labels() for _ in range(work.chance.randint(2, 30))}
            for data, labels in blobs.items():
                begun = work.position()
                await store.put(data, labels=labels)
                work.acknowledged(begun, blob(data, labels))
            digests = [str(info.digest) async for info in store.walk("labels.workload==many")]

            begun, new = work.position(), work.labels()
            async with aclosing(store.update_many(digests, new)) as results:
                async for updated in results:
                    work.acknowledged(begun, blob(str(updated.result.digest), new))

            begun, gone = work.position(), work.chance.sample(digests, len(digests) // 2)
            async with aclosing(store.delete_many(gone)) as results:
                async for removed in results:
                    work.acknowledged(begun, blob(removed.blob, None, {}, new))
