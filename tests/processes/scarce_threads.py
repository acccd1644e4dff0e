"""A store while the system refuses threads; in a process of its own, because a limit stays once it is set.

scarce_threads.py MORE SCRATCH BACKEND [CGROUP]: so many more threads than the main one may be started. Without a cgroup
that has such a limit, the limit is that of the user's processes (RLIMIT_NPROC). With an address in BUCKET the store is there.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio

import steelyard
from steelyard import LocalStore, StorageError, images
from steelyard.cli import main
from steelyard.model import PutResult
from steelyard.objects import ObjectStore

Call = Callable[[], Awaitable[object]]

OCI = "application/vnd.oci.image."


def threads_of(user: int) -> int:
    """Count the threads of a user."""
    count = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        except OSError:
            continue
        if int(fields["Uid"].split()[0]) == user:
            count += int(fields["Threads"])
    return count


def limit_user(more: int, scratch: Path) -> None:
    """Limit the processes of this user. Root is above the limit, so it becomes a user without other processes."""
    user = os.getuid()
    if user == 0:
        user = 0x5000_0000 + os.getpid()
        for path in [scratch, *scratch.rglob("*")]:
            os.chown(path, user, user)
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    limit = more + threads_of(user)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def descriptor(kind: str, put: PutResult) -> dict[str, object]:
    return {"mediaType": OCI + kind, "digest": str(put.digest), "size": put.size}


async def export(store: LocalStore | ObjectStore, data: bytes, archive: Path) -> None:
    layer = await store.put(data[:300_000])
    config = await store.put(b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}')
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar", layer)],
    }
    put = await store.put(json.dumps(manifest).encode())
    await images.export_images(store, archive, manifests=[put.digest], overwrite=True)


async def all_of(values: AsyncIterable[object]) -> list[object]:
    return [value async for value in values]


async def write(store: LocalStore | ObjectStore, data: bytes) -> None:
    async with store.writer(f"ref {time.time_ns()}") as writer:
        for _ in range(100):
            await writer.write(data[:70_000])
        await writer.commit()


async def read(store: LocalStore | ObjectStore) -> None:
    async for info in store.walk():
        assert len(await store.get(info.digest)) == info.size
        await store.verify(info.digest)


async def calls(store: LocalStore | ObjectStore, data: bytes, scratch: Path) -> AsyncIterator[tuple[str, Call]]:
    source, archive = scratch / "source", scratch / "archive.tar"
    yield "put bytes", lambda: store.put(b"some bytes")
    yield "put much", lambda: store.put(data)
    yield "put a file", lambda: store.put(source)
    yield "put many", lambda: all_of(store.put_many([bytes([i]) * 50 for i in range(200)]))
    yield "write", lambda: write(store, data)
    yield "digest of", lambda: steelyard.digest_of(source)
    yield "walk", lambda: all_of(store.walk())
    yield "verify all", lambda: all_of(store.verify_all())
    yield "read", lambda: read(store)
    yield "export", lambda: export(store, data, archive)
    name = f"example.com/again:{time.time_ns()}"
    yield "import", lambda: images.import_images(store, archive, name=name)


def new_store(scratch: Path) -> LocalStore | ObjectStore:
    if address := os.environ.get("BUCKET"):
        return ObjectStore(address, spool=scratch / "spool")
    return LocalStore(scratch / "store", durability="process-crash")


async def attempt(scratch: Path, *, limited: bool) -> tuple[int, int]:
    data = os.urandom(1000) * 5000
    (scratch / "source").write_bytes(data * 2)  # nothing else runs in this loop
    worked = failed = 0
    async with new_store(scratch) as store:
        async for name, call in calls(store, data, scratch):
            try:
                await call()
                worked += 1
            except StorageError:
                failed += 1
                if not limited:
                    raise
            except BaseException as error:
                print(name, type(error).__name__, error, flush=True)
                raise
    return worked, failed


def run(more: int, scratch: Path, backend: str, cgroup: Path | None) -> None:
    os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_CACHE_HOME"] = str(scratch)
    store = os.environ.get("BUCKET", str(scratch / "store"))
    # Everything is imported and used once before the limit, and the threads of that have ended.
    anyio.run(lambda: attempt(scratch, limited=False), backend=backend)
    assert main(["--store", store, "ls"]) == 0
    time.sleep(1.5)
    if cgroup is None:
        limit_user(more, scratch)
    else:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    try:
        print("worked, failed", *anyio.run(lambda: attempt(scratch, limited=True), backend=backend))
    except StorageError as error:
        print("the store is not opened:", error)
    # The command line has a loop and a store of its own. 1 is a failure that was reported.
    assert main(["--store", store, "ls"]) in {0, 1}


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]) if sys.argv[4:] else None)
