"""Objects that are still open when a store closes end with the store, also if other objects refer to them."""

from __future__ import annotations

import errno
import hashlib
import random
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from support.descriptors import open_files

from steelyard import Algorithm, LocalStore
from steelyard.errors import FailedPrecondition, StorageError, Unavailable
from steelyard.local.writer import LocalWriter
from steelyard.transfer import open_writer

LIMIT_SECONDS = 60

BIG = random.Random(10).randbytes(5 << 20)

Calls = list[Callable[[], Awaitable[object]]]


async def closed_with_everything_open(root: Path, *, cancelled: bool) -> tuple[Calls, Calls]:
    """Close a store with writers, readers, a stream, a walk and a verification open; return uses and closes of them."""
    store = LocalStore(root)
    await store.aopen()
    digests = [(await store.put(b"blob %d" % number)).digest for number in range(100)]
    big = (await store.put(BIG)).digest
    named, unflushed = await store.writer("named"), await store.writer("unflushed")
    await named.write(bytes(300_000))
    await named.sync()
    await unflushed.write(b"a few bytes")
    unnamed = LocalWriter(store.direct().anonymous(Algorithm.SHA256))
    await unnamed.write(bytes(300_000))
    one, other = await store.reader_at(digests[0]), await store.reader_at(big)
    stream = other.stream()
    await stream.receive()
    walk, verified = store.walk(), store.verify_all()
    await anext(walk)
    await anext(verified)
    assert [] != open_files(root)

    with anyio.CancelScope() as scope:
        if cancelled:
            scope.cancel()
        await store.aclose()

    uses: Calls = [
        partial(named.write, b"more"),
        named.digest,
        named.sync,
        unnamed.commit,
        partial(unflushed.write, bytes(5 << 20)),
        unflushed.commit,
        partial(one.read_at, 0, 1),
        partial(other.read_at, 0, len(BIG)),
        stream.receive,
        lambda: drained(walk),
        lambda: drained(verified),
    ]
    closes: Calls = [ended.aclose for ended in (named, unflushed, unnamed, one, other, stream, walk, verified, store)]
    return uses, closes


async def drained(iterator: AsyncIterator[object]) -> None:
    """Ask an iterator for all that it has."""
    async for _ in iterator:
        pass


@pytest.mark.anyio
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_closed_store_has_no_file_open_whatever_is_still_referenced(cancelled: bool, tmp_path: Path) -> None:
    uses, closes = await closed_with_everything_open(tmp_path, cancelled=cancelled)

    assert [] == open_files(tmp_path)

    async with LocalStore(tmp_path) as again, AsyncExitStack() as stack:
        assert {"named": 300_000, "unflushed": 11} == {kept.ref: kept.offset for kept in await again.list_statuses()}
        for ref, content in [("named", bytes(300_000)), ("unflushed", b"a few bytes")]:
            writer = await stack.enter_async_context(await again.writer(ref))
            assert hashlib.sha256(content).hexdigest() == (await writer.digest()).encoded

        # What was closed with the store touches nothing of the one that has the refs now.
        for use in uses:
            with pytest.raises(FailedPrecondition, match="not open"):
                await use()
        for close in closes:
            await close()
        with pytest.raises(Unavailable):
            await again.writer("named")

    assert [] == open_files(tmp_path)


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_store_that_is_closed_beside_its_writes_and_commits_stays_whole(tmp_path: Path) -> None:
    chance = random.Random(20)
    outcomes: set[str] = set()
    with anyio.fail_after(LIMIT_SECONDS):
        for number in range(25):
            store = await LocalStore(tmp_path, durability="process-crash").aopen()
            async with anyio.create_task_group() as tasks:
                for task in range(4):
                    tasks.start_soon(_write_and_commit, store, f"{number}-{task}", task, outcomes)
                for _ in range(chance.randrange(60)):
                    await checkpoint()
                await anyio.sleep(chance.random() / 100)
                await store.aclose()
                assert [] == open_files(tmp_path)
            assert [] == open_files(tmp_path)

    async with LocalStore(tmp_path) as again:
        assert [] == [found.digest async for found in again.verify_all() if found.error is not None]
        for status in await again.list_statuses():
            writer = await again.writer(status.ref)
            ref = status.ref.encode() * 40_000
            assert hashlib.sha256((ref + BIG)[: status.offset]).hexdigest() == (await writer.digest()).encoded
            await writer.aclose()
    assert outcomes <= {"stored", "refused"}
    assert outcomes


async def _write_and_commit(store: LocalStore, ref: str, kind: int, outcomes: set[str]) -> None:
    """Write what tells the ref, and commit; the store may close at any time."""
    content = ref.encode() * 40_000 + BIG
    try:
        if kind == 0:
            await store.put(content, ref=ref)
        else:
            async with store.writer(ref) as writer:
                step = 3 << 20 if kind == 1 else 50_000
                for start in range(0, len(content), step):
                    await writer.write(content[start : start + step])
                await writer.commit()
    except FailedPrecondition:
        outcomes.add("refused")
    else:
        outcomes.add("stored")


@pytest.mark.anyio
async def test_a_task_that_waits_for_a_ref_of_a_store_that_closes_is_refused(tmp_path: Path) -> None:
    store = await LocalStore(tmp_path).aopen()
    holder = await store.writer("ref")
    refused = 0

    async def wait() -> None:
        nonlocal refused
        with pytest.raises(FailedPrecondition):
            await open_writer(store, "ref")
        refused += 1

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.sleep(0.05)
            await store.aclose()

    assert 3 == refused
    await holder.aclose()


@pytest.mark.anyio
async def test_a_store_whose_writer_cannot_keep_its_bytes_says_so_and_closes_all(tmp_path: Path) -> None:
    store = await LocalStore(tmp_path).aopen()
    full, other = await store.writer("full"), await store.writer("other")
    await full.write(bytes(300_000))
    await full.sync()
    await full.write(b"bytes")
    await other.write(b"bytes")

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_002, before[1]))
    try:
        with pytest.raises(StorageError) as caught:
            await store.aclose()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert errno.EFBIG == caught.value.errno
    assert [] == open_files(tmp_path)
    await store.aclose()
    async with LocalStore(tmp_path) as again:
        assert [300_000, 5] == [(await again.status(ref)).offset for ref in ("full", "other")]
