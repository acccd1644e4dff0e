"""Ingests under a ref: synced, closed and resumed, committed with and without a sync before it, and aborted."""

from __future__ import annotations

from powercut.work import Work, blob, ingest
from steelyard import Writer

PIECE = 70_000


async def run(work: Work) -> None:
    async with work.store() as store:
        for number in range(6):
            ref = f"upload {number}"
            seed, data = work.content(1, 500_000, 1_500_000)
            begun = work.position()
            async with store.writer(ref) as writer:
                begun = await write(work, writer, begun, (seed, data), work.chance.randrange(len(data) + 1))
            # Left without a commit, the writer keeps what it accepted.
            work.acknowledged(begun, ingest(ref, seed, len(data), writer.offset))
            if number % 3 == 2:
                begun = work.position()
                await store.abort(ref)
                work.acknowledged(begun, ingest(ref))
                continue
            if number == 4:
                continue
            begun = work.position()
            async with store.writer(ref) as writer:
                await write(work, writer, begun, (seed, data), len(data))
                change, labels = blob(data, None), work.labels()
                begun = work.position()
                await writer.commit(labels=labels)
                work.acknowledged(begun, ingest(ref), blob(data, labels), either=(f"ingest:{ref}", change.key))


async def write(work: Work, writer: Writer, begun: int, source: tuple[str, bytes], end: int) -> int:
    """Write up to that offset, and sync sometimes; return where the part began that is not synced."""
    seed, data = source
    while writer.offset < end:
        await writer.write(data[writer.offset : min(end, writer.offset + PIECE)])
        if work.chance.random() < 0.2:
            await writer.sync()
            work.acknowledged(begun, ingest(writer.ref, seed, len(data), writer.offset))
            begun = work.position()
    return begun
