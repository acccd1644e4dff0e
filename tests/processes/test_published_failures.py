"""Failures of other garbage collectors that were published, each as a test.

The dangerous schedule is forced: a collector in another process stops before one of its system calls, the writer does its work, and the
collector goes on, or is killed there. In each round it stops at another call. `STEELYARD_PUBLISHED_ROUNDS=1000` tries each many times.

| Published | Failure | Test |
| --- | --- | --- |
| quay#6318 | a blob goes between its upload and the manifest | `uploaded_then_referred_to` |
| moby#53321 | a prune ends the leases of pulls under way | `pulled_under_a_lease`; `test_a_writer_whose_lease_ends_keeps_its_bytes` |
| containerd#8570 | a blob without label or lease goes at the next collection | `rust/core/tests/collect/beside.rs`; `test_the_first_collection_removes_nothing_within_a_grace_time` |
| containerd#5690, #5692 | an import without a lease loses blobs half-way | `imported`; import of a stream, export and conversion: `tests/images/test_collected_meanwhile.py` |
| containerd#2695, #2331, buildkit#992 | an image is removed while the same is imported | `removed_and_imported_again` |
| containerd#1674 | a collection at the start removes what is not loaded yet | `test_a_collection_right_after_the_start_knows_all_roots` |
| containerd#3787, #10764 | a cancelled pull is tried again at once | `cancelled_and_stored_again` |
| containerd#11021, #13798, #14010 | writers wait for a collection that hangs | `test_a_collector_that_hangs_stops_collections_only` |
| containerd#6294, #1682, moby#48909 | leases stay for a day after their process | `test_a_lease_of_a_process_dies_with_it` |
| containerd#14018 | no event for collected blobs | `test_a_blob_that_is_collected_has_an_event` |
| distribution#2881 | a collection removes uploads under way | `ingested` |
| zot#2625, #2999 | the blob of one repository goes with another's | `shared_by_two_images` |
| harbor#23116, #23143 | a blob that was found goes before the manifest | `found_then_referred_to` |
| attic#110 | a row without its object | needs an object store |
| slatedb#352, #1622, #2089 | a late writer brings back what was removed | needs an object store |
| kopia#1087, #4769, icechunk#368 | a margin of time alone loses data | `test_a_blob_stored_under_a_lease_stays_until_the_lease_ends`; `rust/core/tests/collect/clocks.rs` |
| uv#5731, #19317, sglang#30813 | a prune waits for long readers | `read_meanwhile` |
| niks3#412 | orphaned parts of uploads | needs an object store |
| restic#1141 | no proof that a reference is not to a removed blob | `rust/core/tests/lifecycle` |
| bazel-remote#649 | a blob is evicted while it is referred to | `named_while_it_is_evicted` |
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest
from support.held_collector import HeldCollector
from support.make_archives import layout, one_image, tar
from support.seccomp import NUMBERS
from support.waiting import pausing

from steelyard import Descriptor, Digest, LocalStore, digest_of
from steelyard.errors import CollectionBusy, LeaseEnded, NotFound
from steelyard.images import import_images

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(not NUMBERS, reason="no numbers of system calls for this processor"),
    pytest.mark.timeout(36_000 if "STEELYARD_PUBLISHED_ROUNDS" in os.environ else 300),
]

ROUNDS = int(os.environ.get("STEELYARD_PUBLISHED_ROUNDS", "12"))
KILLED = 5
"""Of so many rounds, one kills the collector."""
AT_ONCE, HOUR = timedelta(0), timedelta(hours=1)
HANG_SECONDS = 60
WAIT_SECONDS = 5
"""A call that takes longer waits for the collector."""
F_OFD_GETLK = 36

Row = Callable[[LocalStore, int], AsyncGenerator[set[Digest], None]]
"""It prepares a store up to its first yield. There the collector stops. It works, and yields what must stay. Then it cleans up."""


async def put_manifest(store: LocalStore, *layers: Digest) -> Digest:
    return (await store.put(json.dumps({"layers": [{"digest": str(each)} for each in layers]}).encode())).digest


async def set_name(store: LocalStore, name: str, digest: Digest) -> None:
    await store.images.assign({name: Descriptor(digest=digest)}, overwrite=True)


async def uploaded_then_referred_to(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    async with store.lease() as leased:
        if number % 2:
            await store.put(b"layer")  # it is found as garbage
        layer = (await leased.put(b"layer")).digest
        yield set()
        manifest = await put_manifest(leased, layer)
        await set_name(leased, "name", manifest)
    yield {layer, manifest}
    await store.images.delete("name")


async def pulled_under_a_lease(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    lease = await store.leases.create(expires=HOUR)
    leased = store.with_lease(lease.id)
    layer = (await leased.put(b"layer")).digest
    yield set()
    async with leased.writer(f"pull {number}") as writer:
        await writer.write(b"pulled %d" % number)
        pulled = (await writer.commit()).digest
    assert lease.id in {each.id for each in await store.leases.list()}
    yield {layer, pulled}
    await store.leases.delete(lease.id)
    with pytest.raises(LeaseEnded):
        await leased.put(b"layer")


async def imported(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    archive = store.path.parent / "archive.tar"
    index, _, blobs = one_image([b"first", bytes(300_000), b"%d" % number])
    archive.write_bytes(tar(layout(index, blobs)))
    for each in blobs[: number % 4]:
        await store.put(each)  # it is found as garbage
    yield set()
    await import_images(store, archive, name="docker.io/library/name:1")
    yield {await digest_of(each) for each in blobs}
    await store.images.delete("docker.io/library/name:1")


async def removed_and_imported_again(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    async for kept in imported(store, number):
        if kept:
            yield set()
            await store.images.delete("docker.io/library/name:1")
            await import_images(store, store.path.parent / "archive.tar", name="docker.io/library/name:1")
            yield kept


async def cancelled_and_stored_again(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    async with store.lease() as leased:
        digest = (await store.put(b"data")).digest
        yield set()
        for delay in range(number % 4):
            with anyio.move_on_after(delay / 1000):
                await leased.put(b"data")
        with suppress(NotFound):
            await store.delete(digest)
        await leased.put(b"data")
        yield {digest}


async def ingested(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    async with store.lease() as leased:
        async with leased.writer("leased") as writer:
            await writer.write(b"leased %d" % number)
        async with store.writer("open") as writer:
            await writer.write(b"open %d" % number)
            yield set()
            await leased.leases.add(leased.lease_id or "", digests=[await digest_of(b"open %d" % number)])
            kept = {(await writer.commit()).digest}
        async with leased.writer("leased") as writer:
            assert writer.offset
            kept.add((await writer.commit()).digest)
        yield kept


async def shared_by_two_images(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    async with store.lease() as leased:
        shared, own = (await leased.put(b"shared")).digest, (await leased.put(b"own %d" % number)).digest
        manifests = [await put_manifest(leased, shared, own), await put_manifest(leased, shared)]
        for name, manifest in zip(("one", "two"), manifests, strict=True):
            await set_name(leased, name, manifest)
    yield set()
    await store.images.delete("one")
    yield {shared, manifests[1]}
    assert not await store.exists(own)
    await store.images.delete("two")


async def found_then_referred_to(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    del number
    layer = (await store.put(b"layer")).digest
    async with store.lease() as leased:
        yield set()
        await leased.leases.add(leased.lease_id or "", digests=[layer])
        if not await leased.infos([layer]):
            await leased.put(b"layer")
        manifest = await put_manifest(leased, layer)
        await set_name(leased, "name", manifest)
    yield {layer, manifest}
    await store.images.delete("name")


async def read_meanwhile(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    data = b"%d" % number * 100_000
    digest = (await store.put(data)).digest
    yield set()
    try:
        reader = await store.reader_at(digest)
    except NotFound:  # it went before the collector stopped
        yield set()
        return
    first = await reader.read_at(0, 1000)
    yield set()
    assert not await store.exists(digest)
    assert data == first + await reader.read_at(1000, len(data))
    await reader.aclose()


async def named_while_it_is_evicted(store: LocalStore, number: int) -> AsyncGenerator[set[Digest], None]:
    del number
    digest = (await store.put(b"data")).digest
    yield set()
    await set_name(store, "name", digest)
    yield set(await store.infos([digest]))  # one that went before stays gone
    await store.images.delete("name")


ROWS: list[Row] = [
    uploaded_then_referred_to,
    pulled_under_a_lease,
    imported,
    removed_and_imported_again,
    cancelled_and_stored_again,
    ingested,
    shared_by_two_images,
    found_then_referred_to,
    read_meanwhile,
    named_while_it_is_evicted,
]


def locked_digests(lock: BinaryIO) -> int:
    """Return the length of the first lock that another process has on the bytes that stand for digests; 0 if it has none."""
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1 << 61, 1 << 61, 0)
    kind, _, _, count, _ = struct.unpack("hhqqi4x", fcntl.fcntl(lock, F_OFD_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else count


@pytest.fixture
def collector() -> Iterator[HeldCollector]:
    collector = HeldCollector()
    yield collector
    collector.close()


async def beside(collector: HeldCollector, work: AsyncGenerator[set[Digest], None], *, kills: bool) -> set[Digest]:
    """Let the writer work until it ends or waits for the collector; then let the collector go on, or kill it."""
    kept: list[set[Digest]] = []

    async def run() -> None:
        kept.append(await anext(work))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not kept and not pausing(os.getpid()):  # noqa: ASYNC110  # the kernel has no notification
            await anyio.sleep(0.002)
        await anyio.to_thread.run_sync(collector.kill if kills else collector.go_on)
    return kept[0]


def at_call(number: int, calls: int) -> int:
    """Return the call at which the collector stops in a round: few rounds are spread over all calls."""
    return number % calls if calls < ROUNDS else number * calls // ROUNDS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
async def test_a_collector_that_stops_at_any_call_takes_nothing_that_is_needed(
    tmp_path: Path, collector: HeldCollector, row: Row
) -> None:
    root, budget = tmp_path / "store", 0 if row is named_while_it_is_evicted else -1
    stopped = 0
    async with LocalStore(root, durability="process-crash") as store:
        await store.collect()
        calls = 0
        for number in range(-1, ROUNDS):
            work = row(store, number)
            with anyio.fail_after(HANG_SECONDS):
                await anext(work)
                await store.put(b"garbage %d" % number)
                at = 0
                if number < 0:
                    calls = collector.count(root, AT_ONCE)
                    kept = await anext(work)
                elif collector.collect(root, AT_ONCE, (at := at_call(number, calls)), budget):
                    stopped += 1
                    kept = await beside(collector, work, kills=number % KILLED == KILLED - 1)
                else:
                    kept = await anext(work)
                for _ in range(2):
                    assert kept == (await store.infos(kept)).keys(), f"round {number}, call {at} of {calls}"
                    await store.collect(grace=AT_ONCE)
                with suppress(StopAsyncIteration):
                    await anext(work)
        await store.collect(grace=AT_ONCE, ingest_age=AT_ONCE)
        assert [] == [info.digest async for info in store.walk()]
    assert stopped > ROUNDS // 2
    print(f"{row.__name__}: stopped {stopped} times, at {calls} calls")


async def test_a_collector_that_hangs_stops_collections_only(tmp_path: Path, collector: HeldCollector) -> None:
    root = tmp_path / "store"
    async with LocalStore(root, durability="process-crash") as store:
        await store.collect()
        kept = (await store.put(b"kept")).digest
        await set_name(store, "name", kept)
        await store.put(b"garbage")
        calls = collector.count(root, AT_ONCE)
        stopped = waited = 0
        for number in range(ROUNDS):
            await store.put(b"garbage")
            if not collector.collect(root, AT_ONCE, at_call(number, calls)):
                continue
            stopped += 1
            with anyio.move_on_after(WAIT_SECONDS) as scope:  # the collector does not go on
                assert b"kept" == await store.get(kept)
                await store.put(b"new %d" % number)
                async with store.writer(f"ref {number}") as writer:
                    await writer.write(b"written %d" % number)
                    await writer.commit()
                with suppress(CollectionBusy):  # before it began, or when it had ended
                    await store.collect(dry_run=True)
            # It stops with a lock of SQLite's at few calls: there a call waits, and can be cancelled.
            waited += scope.cancelled_caught
            collector.go_on()
            assert (await store.put(b"after %d" % number)).new
        assert stopped > ROUNDS // 2
        assert waited <= stopped // 3, f"waited {waited} times of {stopped}"


async def test_a_collector_that_stops_never_has_all_digests_at_once(tmp_path: Path, collector: HeldCollector) -> None:
    root = tmp_path / "store"
    async with LocalStore(root, durability="process-crash") as store:
        await store.collect()
        await store.put(b"garbage")
        calls = collector.count(root, AT_ONCE)
        seen = 0
        with (root / "lock").open("rb") as lock:
            for call in range(calls):
                await store.put(b"garbage")
                if not collector.collect(root, AT_ONCE, call):
                    continue
                held = locked_digests(lock)
                assert held in {0, 1}, f"call {call} of {calls}"
                seen += held
                collector.go_on()
    assert seen > 0, "the look finds no lock"


async def test_a_collection_right_after_the_start_knows_all_roots(tmp_path: Path, collector: HeldCollector) -> None:
    root = tmp_path / "store"
    async with LocalStore(root, durability="process-crash") as store:
        await store.collect()
        layers = [(await store.put(b"%d" % each)).digest for each in range(100)]
        await set_name(store, "name", await put_manifest(store, *layers))
    for number in range(max(2, ROUNDS // KILLED)):
        if number % 2:
            collector.kill()  # its first work is a collection
            collector.count(root, AT_ONCE)
        async with LocalStore(root, durability="process-crash") as store:
            assert 101 == (await store.collect(grace=AT_ONCE)).kept.image_names
            assert set(layers) == (await store.infos(layers)).keys()
