"""A program that presses Ctrl-C on itself while it uses a store: `python interrupted.py sweep|random BACKEND ROOT …`.

It runs in a process of its own, which the test kills should it hang. Each run of some work is interrupted once, by a real
SIGINT; then it must have ended with KeyboardInterrupt, or have finished, and the store must be as a user expects it:
it opens, the bytes of an unfinished ingest are there, the ref is free, no file is open that was not before.

`sweep ROOT TRIES` goes through the steps of each piece of work: all places at which Python looks for signals in the package, or
in what it calls. They are both sides of every await and of every hop, and all between. It interrupts at `TRIES` of them for
each piece of work, or at all of them where that is 0. `random ROOT RUNS SEED` has a thread send the signal at random times.

`BACKEND` is ``asyncio``, ``uvloop`` or ``trio``, run by `anyio.run`, or ``bare``: an asyncio loop without a runner, in which
Ctrl-C raises KeyboardInterrupt wherever Python is.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from objects.bucket import Bucket, BucketRequests
from support.interruption import (
    HANG_SECONDS,
    PACKAGE,
    Place,
    Steps,
    complaints,
    each_step,
    fail_for_unawaited,
    unraisable,
)

import steelyard
from steelyard import Descriptor, LocalStore, NotFound, Unavailable, open_writer
from steelyard.errors import LeaseExists
from steelyard.images import export_images, import_images
from steelyard.objects import ObjectStore
from steelyard.objects import _store as object_store
from steelyard.trees import checkout, diff, put_tree, tree_of

TOGETHER = 8
"""Interruptions before the store is looked at, where nothing of theirs is lost by then."""

NAME = "docker.io/library/demo:1"
DATA = random.Random(1).randbytes(700_000)

acknowledged: dict[str, int] = {}
"""Bytes of ingests that must be there after any interruption."""

Work = Callable[[LocalStore, Path], Awaitable[None]]


async def put(store: LocalStore, root: Path) -> None:
    """Bytes, a file that fits in memory and one that does not, and an iterable."""
    stored = [
        await store.put(b"small"),
        await store.put(root / "large"),
        await store.put(iter([DATA] * 2), ref="pieces"),
    ]
    stored += [one.result async for one in store.put_many([b"one", b"two", root / "archive.tar"])]
    for result in stored:
        await store.delete(result.digest)  # so that the next run stores them again


async def write(store: LocalStore, _: Path) -> None:
    """Buffers of each kind: kept, copied, written from the caller's memory."""
    async with store.writer("kept") as writer:
        acknowledged["kept"] = 0
        await writer.truncate(0)
        for data in (DATA, bytearray(DATA), memoryview(bytearray(300_000)), b"end"):
            await writer.write(data)
        await writer.sync()
        acknowledged["kept"] = writer.offset


async def commit(store: LocalStore, _: Path) -> None:
    """A writer that is waited for, and committed."""
    async with open_writer(store, "committed") as writer:
        await writer.write(DATA)
        with suppress(steelyard.AlreadyExists):
            await writer.commit(expected=await writer.digest())


async def read(store: LocalStore, _: Path) -> None:
    """A blob whole, in ranges, into a buffer and as a stream."""
    digest = (await store.put(DATA)).digest
    assert await store.get(digest) == DATA
    async with store.reader_at(digest) as reader:
        await reader.read_at(10, 600_000)
        await reader.readinto_at(0, bytearray(600_000))
        async with reader.stream() as stream:
            async for _piece in stream:
                pass


async def walk(store: LocalStore, _: Path) -> None:
    """All blobs and all ingests, and a verification."""
    async for _info in store.walk():
        pass
    await store.list_statuses()
    async for found in store.verify_all():
        assert found.error is None


async def bring(store: LocalStore, root: Path) -> None:
    """An import from a file, and one of a stream."""
    await import_images(store, root / "archive.tar", name=NAME)
    await import_images(store, root / "archive.tar.gz", name=NAME)


async def export(store: LocalStore, root: Path) -> None:
    """An export to a file."""
    await export_images(store, root / "exported.tar", [NAME])


async def leased(store: LocalStore, _: Path) -> None:
    """New blobs and stored ones, under a lease that ends with its context and under one with an ID."""
    with suppress(LeaseExists):
        await store.leases.create("kept", expires=timedelta(hours=1))
    async with store.lease(labels={"k": "v"}) as own:
        for under in (own, store.with_lease("kept")):
            result = await under.put(b"leased")
            async for one in under.put_many([b"leased", b"another"]):
                assert one.error is None
            async with under.writer("leased") as writer:
                await writer.write(DATA[writer.offset :])
                with suppress(steelyard.AlreadyExists):
                    await writer.commit()
            await under.leases.add(under.lease_id or "", digests=[result.digest])


async def collect(store: LocalStore, _: Path) -> None:
    """A document and its blobs that go, an image that stays, a dry run, and the question why."""
    kept = (await store.put(b"kept")).digest
    await store.images.assign({"kept": Descriptor(digest=kept)}, overwrite=True)
    garbage = [(await store.put(b"garbage %d" % number)).digest for number in range(3)]
    await store.put(json.dumps({"layers": [{"digest": str(digest)} for digest in garbage]}).encode())
    await store.collect(dry_run=True)
    await store.collect(grace=timedelta(0), ingest_age=timedelta(hours=1))
    assert {kept} == (await store.infos([kept, *garbage])).keys()
    assert (await store.why(kept)).root is not None


async def trees(store: LocalStore, root: Path) -> None:
    """A directory that is stored, stored again, checked out and compared."""
    for _ in range(2):
        await put_tree(store, root / "source", name="tree", cache=root / "tree-cache")
    await checkout(store, "tree", root / "out", delete=True)
    async with aclosing(diff(await tree_of(store, "tree"), root / "out")) as changes:
        assert [] == [change async for change in changes]


async def bucket(_: LocalStore, root: Path) -> None:
    """Object storage with a cache: a small blob, an upload in parts, names, a lease, a collection."""
    async with open_bucket(root) as store:
        small = (await store.put(b"small", labels={"a": "b"})).digest
        large = (await store.put(root / "large", ref="pieces")).digest
        assert await store.get(small) == b"small"
        async with store.reader_at(large) as reader:
            await reader.read_at(10, 600_000)
            async with reader.stream() as stream:
                async for _piece in stream:
                    pass
        await store.images.assign({"kept": Descriptor(digest=small)}, overwrite=True)
        async with store.lease() as leased:
            await leased.put(b"leased")
        async for _info in store.walk():
            pass
        await store.delete(large)
        await store.collect(grace=timedelta(0))


def open_bucket(root: Path) -> ObjectStore:
    """Return a store in the bucket in memory, with its spool and its cache below a directory."""
    return ObjectStore("s3://bucket", spool=root / "spool", cache=root / "cache")


def make_bucket() -> None:
    """Have stores in buckets use one in memory, which is empty."""
    made = Bucket()
    changed: Any = object_store
    changed.ObjectClient = lambda *_, **__: None
    changed.Requests = lambda address, _client, _prefix: BucketRequests(made, address)


WORKS: dict[str, Work] = {
    "put": put,
    "write": write,
    "commit": commit,
    "read": read,
    "walk": walk,
    "import": bring,
    "export": export,
    "leased": leased,
    "collect": collect,
    "trees": trees,
    "bucket": bucket,
}


def start(backend: str, work: Work, root: Path, steps: Steps | None = None) -> bool:
    """Do the work in a new event loop; return whether Ctrl-C ended it."""

    async def main() -> None:
        if steps is not None:
            steps.listen()
        async with LocalStore(root / "store", durability="process-crash") as store:
            await work(store, root)

    try:
        if backend == "bare":
            bare(main)
        elif backend == "uvloop":
            anyio.run(main, backend_options={"use_uvloop": True})
        else:
            anyio.run(main, backend=backend)
    except KeyboardInterrupt:
        return True
    return False


def bare(main: Callable[[], Any]) -> None:
    """Run a loop as programs did before there were runners: on Ctrl-C they cancel what is left, and close the loop."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it would report an interrupt that it has raised
    try:
        loop.run_until_complete(main())
    finally:
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            with suppress(KeyboardInterrupt):  # a task group raises it again
                loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def check_process(before: list[str], *, torn: bool) -> None:
    """Fail if an interruption left something behind in this process.

    Args:
        before: the files that were open.
        torn: KeyboardInterrupt was raised in any step of asyncio's too: what was open may be open still.
    """
    gc.collect()
    end = time.monotonic() + 30  # a thread that wrote behind the caller may be about to close the last
    while not torn and (left := Counter(open_files()) - Counter(before)) and time.monotonic() < end:
        time.sleep(0.01)
    assert torn or not left, f"left open: {left}"
    assert not complaints, complaints


def check_store(root: Path, *, torn: bool) -> None:
    """Fail unless every ref is free, every acknowledged byte is there and every blob is whole."""

    async def look() -> None:
        async with LocalStore(root / "store", durability="process-crash") as store:
            for ref in ("kept", "pieces", "committed"):
                with suppress(NotFound, *([Unavailable] if torn else [])):
                    held = (await store.status(ref)).offset
                    async with store.writer(ref) as writer:  # it is free
                        assert writer.offset == held, (ref, writer.offset, held)
                    assert held >= acknowledged.get(ref, 0), (ref, held, acknowledged)
            async for found in store.verify_all():
                assert found.error is None
            # A store that was left open holds its leases.
            assert torn or {lease.id for lease in await store.leases.list()} <= {"kept"}
        async with open_bucket(root) as objects:
            with suppress(steelyard.AlreadyExists, *([Unavailable] if torn else [])):
                async with objects.writer("pieces"):  # it is free
                    pass
            async for found in objects.verify_all():
                assert found.error is None

    anyio.run(look)


def open_files() -> list[str]:
    """Return the files that are open."""
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            found.append(str(entry.readlink()))
    return sorted(name for name in found if name.startswith("/"))


def sweep(backend: str, root: Path, tries: int) -> dict[str, tuple[int, int]]:
    """Interrupt each piece of work at its steps; return how often, and how many runs ended by it."""
    counts = {}
    for name, work in WORKS.items():
        start(backend, work, root)  # what is opened once and kept
        gc.collect()
        gc.freeze()  # so that the collections that follow are short
        before = open_files()
        runs = ended = 0
        for steps in each_step(partial(start, backend, work, root), tries):
            runs += 1
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            with Place(f"{name}, instruction {steps.at}"):
                with steps:
                    ended += start(backend, work, root, steps)
                check_process(before, torn=backend == "bare")
                if name == "write" or runs % TOGETHER == 0:
                    check_store(root, torn=backend == "bare")
            faulthandler.cancel_dump_traceback_later()
        with Place(f"{name}, one of the last {TOGETHER}"):
            check_store(root, torn=backend == "bare")
        print(f"{name}: {runs} runs, {ended} ended", file=sys.stderr, flush=True)
        counts[name] = runs, ended
    return counts


def at_random(backend: str, root: Path, runs: int, seed: int) -> dict[str, tuple[int, int]]:
    """Interrupt the work at random times; a second signal follows soon after some of the first."""
    chance = random.Random(seed)
    for work in WORKS.values():
        start(backend, work, root)
    before, ended = open_files(), 0
    for run in range(runs):
        name = chance.choice(list(WORKS))
        # uvloop itself does not survive a second one: it then refuses to close the loop. A bare loop's first is as the second of others.
        second = chance.randrange(2) if backend in {"asyncio", "trio"} else 0
        delays = [chance.random() * 0.06] + [chance.random() * 0.002] * second
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        with Place(f"run {run}: {name} after {delays}"):
            ended += signalled(backend, WORKS[name], root, delays)
            torn = backend == "bare" or len(delays) > 1
            check_process(before, torn=torn)
            check_store(root, torn=torn)
        faulthandler.cancel_dump_traceback_later()
    return {"all": (runs, ended)}


def signalled(backend: str, work: Work, root: Path, delays: list[float]) -> bool:
    """Do the work while a thread sends signals; return whether one ended it."""
    begun = threading.Event()  # no signal before this thread is prepared for it
    sender = threading.Thread(target=send, args=(begun, delays))
    sender.start()
    ended = True
    # A signal that asyncio would raise in its own steps waits for the package's next one. A runner has its handler later.
    steps = Steps() if backend == "asyncio" else None
    if backend == "bare":
        Steps().listen()
    with suppress(KeyboardInterrupt):  # it comes where it comes, here too
        try:
            begun.set()
            ended = start(backend, work, root, steps)
        except RuntimeError as error:
            # The loop's own, when the signal comes while it starts or closes.
            if any(PACKAGE in frame.filename for frame in traceback.extract_tb(error.__traceback__)):
                raise
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.settrace(None)
    sender.join()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return ended


def send(begun: threading.Event, delays: list[float]) -> None:
    begun.wait()
    for delay in delays:
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    how, backend, where, *numbers = sys.argv[1:]
    root = Path(where)
    shutil.rmtree(root / "store", ignore_errors=True)
    (root / "large").write_bytes(random.Random(2).randbytes(9 << 20))
    make_bucket()
    sys.unraisablehook = unraisable
    if how == "sweep" and backend != "bare":  # a signal at any time may come in the loop's own code too
        fail_for_unawaited()
    first, *rest = map(int, numbers)
    print(json.dumps(sweep(backend, root, first) if how == "sweep" else at_random(backend, root, first, *rest)))


if __name__ == "__main__":
    main()
