"""Few threads or none: every call works or raises StorageError, and a panic in native work is an error of one await.

`STEELYARD_THREADS_LONG=1` tries every limit from 0 to 8 on both backends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
import pytest

from steelyard import LocalStore, _native
from steelyard._bridge import run

pytestmark = pytest.mark.anyio

_CASES = [(0, "asyncio"), (1, "trio"), (2, "asyncio"), (4, "trio")]
if os.environ.get("STEELYARD_THREADS_LONG"):
    _CASES = [(limit, backend) for limit in range(9) for backend in ("asyncio", "trio")]
_HANG_SECONDS = 120

# Everything is imported and used once before the limit, and the threads of that have ended. Root is above the limit, so
# that it becomes somebody who has no other process; others count what they have.
_LIMITED = """
import glob, json, os, pathlib, resource, sys, time
import anyio, steelyard
from steelyard import images, errors
from steelyard.cli import main

limit, scratch = int(sys.argv[1]), pathlib.Path(sys.argv[2])
os.environ["XDG_CONFIG_HOME"] = str(scratch)
source, archive = scratch / "source", scratch / "archive.tar"

def threads_of(user):
    count = 0
    for status in glob.glob("/proc/[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in open(status))
        except OSError:
            continue
        if int(fields["Uid"].split()[0]) == user:
            count += int(fields["Threads"])
    return count

OCI = "application/vnd.oci.image."

def descriptor(kind, put):
    return {"mediaType": OCI + kind, "digest": str(put.digest), "size": put.size}

async def export(store):
    layer = await store.put(text[:300_000])
    config = await store.put(b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}')
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
        "config": descriptor("config.v1+json", config), "layers": [descriptor("layer.v1.tar", layer)]}
    put = await store.put(json.dumps(manifest).encode())
    await images.export_images(store, archive, manifests=[put.digest], overwrite=True)

async def calls(store):
    yield "put bytes", lambda: store.put(b"some bytes")
    yield "put much", lambda: store.put(text)
    yield "put a file", lambda: store.put(source)
    yield "put many", lambda: all_of(store.put_many([bytes([i]) * 50 for i in range(200)]))
    yield "write", lambda: write(store)
    yield "digest of", lambda: steelyard.digest_of(source)
    yield "walk", lambda: all_of(store.walk())
    yield "verify all", lambda: all_of(store.verify_all())
    yield "read", lambda: read(store)
    yield "export", lambda: export(store)
    yield "import", lambda: images.import_images(store, archive, name=f"example.com/again:{time.time_ns()}")

async def all_of(values):
    return [value async for value in values]

async def write(store):
    async with await store.writer(f"ref {time.time_ns()}") as writer:
        for _ in range(100):
            await writer.write(text[:70_000])
        await writer.commit()

async def read(store):
    async for info in store.walk():
        assert len(await store.get(info.digest)) == info.size
        await store.verify(info.digest)

async def attempt(limited):
    global text
    text = os.urandom(1000) * 5000
    source.write_bytes(text * 2)
    worked = failed = 0
    async with steelyard.LocalStore(scratch / "store", durability="process-crash") as store:
        async for name, call in calls(store):
            try:
                await call()
                worked += 1
            except errors.StorageError:
                failed += 1
                if not limited:
                    raise
            except BaseException as error:
                print(name, type(error).__name__, error, flush=True)
                raise
    return worked, failed

backend = sys.argv[3]
anyio.run(attempt, False, backend=backend)
assert main(["--store", str(scratch / "store"), "ls"]) == 0
time.sleep(1.5)
user = os.getuid()
if user == 0:
    user = 0x5000_0000 + os.getpid()
    for path in [scratch, *scratch.rglob("*")]:
        os.chown(path, user, user)
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
limit += threads_of(user)
resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
try:
    print("worked, failed", anyio.run(attempt, True, backend=backend))
except errors.StorageError as error:
    print("the store is not opened:", error)
# The command line has a loop and a store of its own. 1 is a failure that was told.
assert main(["--store", str(scratch / "store"), "ls"]) in (0, 1)
"""


@pytest.mark.parametrize(("limit", "backend"), _CASES)
def test_with_so_many_more_threads_every_call_works_or_is_refused(limit: int, backend: str) -> None:
    # Not pytest's directory, which nobody else may enter.
    with tempfile.TemporaryDirectory() as scratch:
        _attempt(limit, scratch, backend)


def _attempt(limit: int, scratch: str, backend: str) -> None:
    # Where it hangs, SIGABRT says in which calls.
    command = [sys.executable, "-X", "faulthandler", "-c", _LIMITED, str(limit), scratch, backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            out, _ = process.communicate(timeout=_HANG_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            out, _ = process.communicate()
            pytest.fail(f"it hangs:\n{out}")
    print(out)

    assert process.returncode == 0, out
    assert "panicked" not in out


def _panic() -> None:
    raise _native.PanicException("on purpose")


async def test_a_panic_ends_its_own_await_and_nothing_else(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        async with LocalStore(tmp_path) as store:
            for _ in range(3):
                with pytest.raises(RuntimeError, match="native code has panicked: on purpose"):
                    await run(_panic)
            put = await store.put(b"afterwards")
            assert b"afterwards" == await store.get(put.digest)


async def test_a_panic_in_a_shared_trip_ends_every_await_of_it() -> None:
    def together(items: list[object]) -> list[object]:
        raise _native.PanicException(f"{len(items)} items")

    gather = _native.Gather(together, most=8, most_bytes=1 << 20, at_once=1)
    errors: list[RuntimeError] = []

    async def one(item: object) -> None:
        try:
            await run(gather, item, 1)
        except RuntimeError as error:
            errors.append(error)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for item in range(20):
                group.start_soon(one, item)

    assert 20 == len(errors)
