"""Leases with IDs: what is put under them, entered and removed, by the library and by the command; and those of a process.

The blobs of a lease that has ended are garbage, and a collection of another workload may remove them.
"""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta

from powercut.history import Change
from powercut.work import Work, blob, digest_of, entry, ingest, lease, loose
from steelyard import LocalStore

DAY = timedelta(days=1)


async def run(work: Work) -> None:
    work.use("collected")
    async with work.store() as store:
        for number in range(4):
            await under_an_id(work, store, f"lease {number}")
        async with store.lease(labels=work.labels()) as leased:
            # After a power cut this lease has ended.
            kept = [(work.data(2_000), work.labels()) for _ in range(3)]
            for data, labels in kept:
                begun = work.position()
                await leased.put(data, labels=labels)
                work.acknowledged(begun, blob(data, labels))
            begun = work.position()
        work.acknowledged(begun, *(loose(data, labels) for data, labels in kept))
    await by_command(work)


async def under_an_id(work: Work, store: LocalStore, text: str) -> None:
    held: list[tuple[bytes, dict[str, str]]] = []
    labels = work.labels()
    begun = work.position()
    await store.leases.create(text, expires=DAY, labels=labels)
    work.acknowledged(begun, lease(text, labels))
    leased = store.with_lease(text)
    for _ in range(work.chance.randint(1, 3)):
        data, labels = work.data(2_000, 200_000), work.labels()
        begun = work.position()
        await leased.put(data, labels=labels)
        work.acknowledged(begun, blob(data, labels), entry(text, data))
        held.append((data, labels))
    (seed, data), labels = work.content(100_000), work.labels()
    begun = work.position()
    async with leased.writer(f"of {text}") as writer:
        await writer.write(data)
        await writer.commit(labels=labels)
    unfinished = [ingest(writer.ref, seed, len(data), len(data)).value]
    work.acknowledged(begun, Change(f"ingest:{writer.ref}", None, unfinished), blob(data, labels), entry(text, data))
    held.append((data, labels))
    many, labels = [work.data(3_000) for _ in range(work.chance.randint(2, 30))], work.labels()
    begun = work.position()
    async with aclosing(leased.put_many(many, labels=labels)) as results:
        async for done in results:
            data = many[done.index]
            work.acknowledged(begun, blob(data, labels), entry(text, data))
            held.append((data, labels))
    await change_entries(work, store, text, held)
    if work.chance.random() < 0.5:
        begun = work.position()
        await store.leases.delete(text)
        work.acknowledged(begun, lease(text, None), *gone(text, held))


async def change_entries(work: Work, store: LocalStore, text: str, held: list[tuple[bytes, dict[str, str]]]) -> None:
    """Remove an entry of a lease, and enter something before it is stored."""
    data, labels = held.pop(work.chance.randrange(len(held)))
    begun = work.position()
    await store.leases.remove(text, digests=[digest_of(data)])
    work.acknowledged(begun, entry(text, data, there=False), loose(data, labels))
    data, labels = work.data(500), {}
    begun = work.position()
    await store.leases.add(text, digests=[digest_of(data)])
    work.acknowledged(begun, entry(text, data))
    begun = work.position()
    await store.put(data)
    work.acknowledged(begun, blob(data, labels))
    held.append((data, labels))


async def by_command(work: Work) -> None:
    data, text = work.data(5_000), "by command"
    begun = work.position()
    await work.command(
        "leases", "create", text, "--expires", "1d", "--label", "by=command", "--digest", digest_of(data)
    )
    # The lease is made before its entry is.
    work.acknowledged(begun, lease(text, {"by": "command"}), entry(text, data))
    begun = work.position()
    await work.command("put", "-", stdin=data)
    work.acknowledged(begun, blob(data, {}))
    begun = work.position()
    await work.command("leases", "rm", text)
    work.acknowledged(begun, lease(text, None), *gone(text, [(data, {})]))


def gone(text: str, held: list[tuple[bytes, dict[str, str]]]) -> list[Change]:
    """Return the changes of what a lease protected, when it ends."""
    return [change for data, labels in held for change in (entry(text, data, there=False), loose(data, labels))]
