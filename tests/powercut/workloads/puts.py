"""Single puts, several at once, by the library and by the command; deletions, and puts of what was deleted."""

from __future__ import annotations

import anyio

from powercut.work import Work, blob, digest_of
from steelyard import LocalStore


async def run(work: Work) -> None:
    async with work.store() as store:
        stored: list[tuple[bytes, dict[str, str]]] = []

        async def put(data: bytes) -> None:
            labels = work.labels()
            begun = work.position()
            await store.put(data, labels=labels)
            work.acknowledged(begun, blob(data, labels))
            stored.append((data, labels))

        for size in (1, 3_000_000):
            await put(work.data(size))
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(work.chance.randint(1, 12)):
                    tasks.start_soon(put, work.data(20, 5_000, 200_000))
            data, labels = stored.pop(work.chance.randrange(len(stored)))
            await delete(work, store, data, labels)
            if work.chance.random() < 0.5:
                await put(data)
    await by_command(work)


async def delete(work: Work, store: LocalStore, data: bytes, labels: dict[str, str]) -> None:
    change = blob(data, None, {}, labels)
    begun = work.position()
    await store.delete(digest_of(data))
    work.acknowledged(begun, change)


async def by_command(work: Work) -> None:
    """Standard input is stored as an ingest without a ref, a file as a put."""
    path = work.disk / "source"
    for source in ("-", path):
        data, labels = work.data(5_000, 300_000), work.labels()
        if source == path:
            path.write_bytes(data)
        words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        begun = work.position()
        await work.command("put", *words, source, stdin=data)
        work.acknowledged(begun, blob(data, labels))
