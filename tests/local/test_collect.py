"""Garbage collection of LocalStore: several processes, kills, formats, what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import anyio
import pytest

from steelyard import Descriptor, Digest, LocalStore
from steelyard._runtime import calls
from steelyard.collection import Collected
from steelyard.errors import CollectionBusy, CollectionRefused, Unsupported

pytestmark = pytest.mark.anyio
AT_ONCE = timedelta(0)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
KILLS = int(os.environ.get("STEELYARD_COLLECT_KILLS", "3"))
"""How many collectors are killed."""

COLLECTOR = """
import sys, anyio
from datetime import timedelta
from steelyard import LocalStore
async def main():
    async with LocalStore(sys.argv[1]) as store:
        print("open", flush=True)
        await store.collect(grace=timedelta(0), on_progress=lambda progress: print(progress.phase, flush=True))
        print("ended", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
anyio.run(main)
"""

WRITER = """
import sys, json, anyio
from steelyard import Descriptor, LocalStore
async def main():
    async with LocalStore(sys.argv[1]) as store:
        for number in range(int(sys.argv[3])):
            async with store.lease() as leased:
                layers = [(await leased.put(b"layer %d" % (number % 7 + each))).digest for each in range(3)]
                text = json.dumps({"layers": [{"digest": str(layer)} for layer in layers], "number": number % 5})
                manifest = (await leased.put(text.encode())).digest
                assert set(layers) | {manifest} <= set(await leased.infos([*layers, manifest]))
                await leased.images.assign({sys.argv[2]: Descriptor(digest=manifest)}, overwrite=True)
            for digest in [*layers, manifest]:
                await store.get(digest)
        print("ended", flush=True)
anyio.run(main)
"""


@contextmanager
def process(program: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as started:
        try:
            yield started
        finally:
            started.kill()


async def image(store: LocalStore, number: int) -> tuple[Digest, ...]:
    """Store a manifest and two layers."""
    layers = [(await store.put(b"%d %d" % (number, each))).digest for each in range(2)]
    text = json.dumps({"layers": [{"digest": str(layer)} for layer in layers]})
    return (await store.put(text.encode())).digest, *layers


async def stored(store: LocalStore) -> set[Digest]:
    return {info.digest async for info in store.walk()}


async def whole(store: LocalStore, images: list[tuple[Digest, ...]]) -> bool:
    """Return whether each manifest that is stored has its layers."""
    there = await stored(store)
    return all(manifest not in there or set(layers) <= there for manifest, *layers in images)


async def named(store: LocalStore, name: str, digest: Digest) -> None:
    await store.images.create(name, Descriptor(digest=digest, media_type=MANIFEST))


@pytest.mark.slow
async def test_a_killed_collector_leaves_only_garbage(tmp_path: Path) -> None:
    random = Random(1)
    async with LocalStore(tmp_path / "store") as store:
        kept = await image(store, 0)
        await named(store, "kept", kept[0])
        await store.collect(grace=AT_ONCE)
    for kill in range(KILLS):
        async with LocalStore(tmp_path / "store") as store:
            images = [await image(store, 1 + 100 * kill + number) for number in range(30)]
            with process(COLLECTOR, tmp_path / "store") as collector:
                assert collector.stdout is not None
                for line in collector.stdout:
                    if line.strip() == "ended" or random.random() < 0.3:
                        break
                collector.send_signal(signal.SIGKILL)
                collector.wait()
            assert await whole(store, images)
            if kill % 2:
                await store.collect(grace=AT_ONCE)
                assert set(kept) == await stored(store)
    async with LocalStore(tmp_path / "store") as store:
        await store.collect(grace=AT_ONCE)
        assert set(kept) == await stored(store)
        assert [] == [path for path in (tmp_path / "store" / "condemned").rglob("*") if path.is_file()]


@pytest.mark.slow
async def test_writers_under_leases_go_on_beside_collections(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        await store.collect(grace=AT_ONCE)
        with process(WRITER, tmp_path / "store", "a", 25) as one, process(WRITER, tmp_path / "store", "b", 25) as two:
            collections = 0
            while one.poll() is None or two.poll() is None:
                await store.collect(grace=AT_ONCE)
                collections += 1
            for writer in (one, two):
                assert writer.stdout is not None
                assert "ended\n" == writer.stdout.read()
        assert collections > 0
        await store.collect(grace=AT_ONCE)
        assert 8 >= len(await stored(store)) >= 4
        for name in "ab":
            await store.images.delete(name)
        await store.collect(grace=AT_ONCE)
        assert set() == await stored(store)


async def _is_busy(store: LocalStore, collector: subprocess.Popen[str]) -> bool:
    """Stop a collector for a moment, and return whether that keeps the store from collecting."""
    collector.send_signal(signal.SIGSTOP)
    holder = None
    try:
        await store.collect()
    except CollectionBusy as busy:
        holder = busy.holder
    finally:
        collector.send_signal(signal.SIGCONT)
    assert holder in (None, f"process {collector.pid}")
    return holder is not None


async def test_one_process_collects_at_a_time_and_the_other_is_told(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        await store.collect()
        with process(COLLECTOR, tmp_path / "store") as collector:
            assert collector.stdout is not None
            assert "open\n" == collector.stdout.readline()
            # Until it is stopped within its collection, or has ended.
            while collector.stdout.readline() != "ended\n" and not await _is_busy(store, collector):
                pass
        await store.collect()


async def test_the_first_collection_needs_the_store_for_itself(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store, LocalStore(tmp_path / "store") as other:
        await store.put(b"garbage")
        with pytest.raises(CollectionRefused) as refused:
            await other.collect(grace=AT_ONCE)
        assert "open" == refused.value.cause
        assert 1 == (await other.collect(grace=AT_ONCE, dry_run=True)).blobs
    async with LocalStore(tmp_path / "store") as store:
        assert 1 == (await store.collect(grace=AT_ONCE)).blobs
        async with LocalStore(tmp_path / "store") as other:
            await other.put(b"garbage")
            assert 1 == (await other.collect(grace=AT_ONCE)).blobs
    assert 2 == json.loads((tmp_path / "store" / "steelyard.json").read_text())["format"]


async def test_roots_that_may_be_lost_have_to_be_accepted(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        digest = (await store.put(b"data")).digest
        await named(store, "name", digest)
        await store.collect()
        await store.rebuild()
        with pytest.raises(CollectionRefused) as refused:
            await store.collect(grace=AT_ONCE)
        assert "roots" == refused.value.cause
        assert 0 == (await store.collect(grace=AT_ONCE, dry_run=True)).blobs
        assert 1 == (await store.collect(grace=AT_ONCE, accept_roots=True)).kept.image_names
        assert Collected() != await store.collect(grace=AT_ONCE)
        assert {digest} == await stored(store)


async def test_a_read_only_store_says_why_and_does_not_collect(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        digest = (await store.put(b"data")).digest
        await named(store, "name", digest)
    async with LocalStore(tmp_path / "store", read_only=True) as store:
        with pytest.raises(Unsupported):
            await store.collect(grace=AT_ONCE)
        reason = await store.why(digest)
        assert reason.root is not None
        assert ("image name", "name") == (reason.root.kind, reason.root.name)


async def test_a_collection_ends_with_its_store(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        for number in range(20):
            await image(store, number)

        def stop(_: object) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.collect(on_progress=stop)
        with anyio.CancelScope() as scope:
            await store.collect(on_progress=lambda _: scope.cancel())
        before = calls.counts()["hops"]
        await store.collect()
        assert calls.counts()["hops"] > before
