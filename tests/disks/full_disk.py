"""A store on a full disk, step by step; in a process of its own, because a fault in mapped memory would end it.

full_disk.py MOUNTED before|after: the store is opened before the disk is filled, or after. Prints a line for each step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import anyio
import msgspec
from support.disks import fill, sync

from steelyard import DataCorrupt, Digest, LocalStore, StorageFull, digest_of
from steelyard.model import Info

MARKED = {"from": "before"}
DAMAGED = 5
"""Which blob."""


async def prepare(store: LocalStore) -> list[Info]:
    for number in range(6):
        await store.put(b"%d" % number * 30_000, labels=MARKED)
    await store.leases.create("lease", expires=timedelta(hours=1))
    async with store.writer("upload") as writer:
        await writer.write(b"begun" * 20_000)
    infos = sorted([info async for info in store.walk()], key=lambda info: info.created_at)
    damage(Path(store.path, "blobs", "sha256", infos[DAMAGED].digest.encoded))
    return infos


async def step(name: str, run: Callable[[], Awaitable[object]], *, may_be_full: bool = False) -> None:
    try:
        found = await run()
    except StorageFull as error:
        if not may_be_full:
            raise
        found = "full" if error.filename else "an error without a path"
    print(name, found if isinstance(found, str) else "ok", flush=True)


async def use(store: LocalStore, infos: list[Info], point: Path) -> None:
    async def listed() -> None:
        found = {info.digest: info.labels async for info in store.walk()}
        assert found == {info.digest: info.labels for info in infos}, found

    async def read() -> None:
        for info in infos[:DAMAGED]:
            assert len(await store.get(info.digest)) == info.size

    async def relabel() -> None:
        for number in range(200):
            await store.update(msgspec.structs.replace(infos[0], labels={"n": "x" * (number % 50)}), "labels")
            sync(point)

    async def put() -> None:
        await store.put(os.urandom(50_000), labels={"new": "yes"})

    async def leased() -> None:
        under = store.with_lease("lease")
        for number in range(2000):
            before = (await store.leases.resources("lease")).blobs
            digest = await digest_of(b"leased %d" % number)
            try:
                await under.put(b"leased %d" % number)
            except StorageFull:
                entered = set((await store.leases.resources("lease")).blobs) - set(before)
                # The entry comes first: a blob without its entry is not stored.
                assert entered <= {digest}, entered
                assert entered or not await store.exists(digest)
                raise
            await store.delete(digest)
            sync(point)

    await step("list", listed)
    await step("get", read)
    await step("statuses", store.list_statuses)
    await step("abort", lambda: store.abort("upload"))
    fill(point)
    await step("put", put, may_be_full=True)
    await step("relabel", relabel, may_be_full=True)
    await step("lease", leased, may_be_full=True)
    await step("list again", lambda: store.info(infos[1].digest))
    await step("quarantine", lambda: quarantine(store, infos[DAMAGED].digest), may_be_full=True)


async def quarantine(store: LocalStore, digest: Digest) -> None:
    damaged = Path(store.path, "blobs", "sha256", digest.encoded)
    try:
        await store.verify(digest)
    except DataCorrupt:
        assert not os.path.exists(damaged)  # noqa: ASYNC240, PTH110  # nothing else runs in this loop
    except StorageFull:
        assert os.path.exists(damaged)  # noqa: ASYNC240, PTH110
        raise
    else:
        raise AssertionError("damage was not found")


def damage(path: Path) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"X")


async def forget(store: LocalStore, infos: list[Info], point: Path) -> None:
    """Delete on a full disk; afterwards no label of the deleted blob may come back with a later one."""
    await step("delete", lambda: store.delete(infos[3].digest))
    await step("delete another", lambda: store.delete(infos[4].digest))
    for ballast in point.glob("ballast*"):  # noqa: ASYNC240  # nothing else runs in this loop
        ballast.unlink()
    with anyio.fail_after(30):
        while not await fits(store, b"3" * 30_000):
            sync(point)
    await store.put(b"4" * 30_000, labels={"from": "after"})
    assert (await store.info(infos[3].digest)).labels == {}, "labels of a deleted blob"
    assert (await store.info(infos[4].digest)).labels == {"from": "after"}
    assert (await store.info(infos[1].digest)).labels == MARKED
    print("forget ok", flush=True)


async def fits(store: LocalStore, data: bytes) -> bool:
    try:
        await store.put(data)
    except StorageFull:
        return False
    return True


async def main(point: Path, when: str) -> None:
    async with LocalStore(point / "store") as store:
        infos = await prepare(store)
        if when == "before":
            fill(point)
            await use(store, infos, point)
            await forget(store, infos, point)
            return
    fill(point)
    async with LocalStore(point / "store") as store:
        assert store.notes() == [], store.notes()
        await use(store, infos, point)
        await forget(store, infos, point)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2])
