"""Trees of many entries: manifests in an index, small enough for other programs, and most of them as they were after a change."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path

import pytest
from support.made_trees import build_tree

from steelyard import Descriptor, Digest, MemoryStore
from steelyard.errors import LimitExceeded
from steelyard.images.leases import LeaseGuard
from steelyard.trees import Entry, tree_of
from steelyard.trees._builder import DOCUMENT_BYTES
from steelyard.trees._entry import order_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    """Give an empty store."""
    async with MemoryStore() as store:
        yield store


def file(path: str, data: bytes = b"") -> Entry:
    return Entry(path=path, digest=Digest.parse(f"sha256:{hashlib.sha256(data).hexdigest()}"), size=len(data))


async def build(store: MemoryStore, entries: Iterable[Entry]) -> Descriptor:
    return await build_tree(LeaseGuard(store), entries)


async def manifests_of(store: MemoryStore, target: Descriptor) -> list[str]:
    document = json.loads(await store.get(target.digest))
    return [each["digest"] for each in document["manifests"]]


def many(directories: int, files: int) -> list[Entry]:
    return [file(f"{number % 97}/{number}/{each}") for number in range(directories) for each in range(files)]


async def paths_of(store: MemoryStore, target: Descriptor) -> list[str]:
    async with aclosing((await tree_of(store, target)).entries()) as entries:
        return [entry.path async for entry in entries]


async def test_a_change_in_one_directory_changes_one_manifest(store: MemoryStore) -> None:
    entries = many(4000, 8)
    before = await build(store, entries)
    old = await manifests_of(store, before)
    assert 10 < len(old) < 60
    for changed in (
        [file("17/17/new", b"1"), *entries],
        [entry for entry in entries if not entry.path.startswith("50/50/")],
        [Entry(path="90/link", kind="link", target="x"), *entries],
    ):
        new = await manifests_of(store, await build(store, changed))
        assert len(set(old) - set(new)) <= 2
        assert len(set(new) - set(old)) <= 2
        assert len(set(old) & set(new)) >= len(old) - 2


async def test_the_entries_of_a_large_tree_come_in_order(store: MemoryStore) -> None:
    entries = many(600, 20)
    target = await build(store, entries)

    assert (target.media_type or "").startswith("application/vnd.oci.image.index")
    assert sorted((entry.path for entry in entries), key=order_of) == await paths_of(store, target)
    assert 1 == (await (await tree_of(store, target)).find("9/9/1")).path.count("9/9/1")


@pytest.mark.parametrize(("count", "kind"), [(4096, "manifest"), (4097, "index")])
async def test_a_small_tree_is_one_manifest(store: MemoryStore, count: int, kind: str) -> None:
    target = await build(store, [file(f"{number % 300}/{number}") for number in range(count)])

    assert f"application/vnd.oci.image.{kind}.v1+json" == target.media_type


async def test_no_document_is_too_large_for_other_programs(store: MemoryStore) -> None:
    long = ["\x01" * 200 + str(number) for number in range(3000)]
    links = [Entry(path=f"l/{number}", kind="link", target="\x01" * 4000) for number in range(500)]
    target = await build(store, [*(file(f"{name}/{name}") for name in long), *links])

    assert 3500 == len(await paths_of(store, target))
    async for info in store.walk():
        assert info.size <= DOCUMENT_BYTES


async def test_a_tree_of_too_many_manifests_is_refused(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steelyard.trees._builder.DOCUMENT_BYTES", 2000)
    with pytest.raises(LimitExceeded, match="json_bytes"):
        await build(store, many(4000, 8))


PROGRAM = """
import sys, anyio
from steelyard import LocalStore
from steelyard.trees import checkout, put_tree, tree_of

def peak():  # of this program alone: getrusage counts its parent, too
    with open("/proc/self/status") as file:
        print(next(line.split()[1] for line in file if line.startswith("VmHWM:")))

async def main(store, source, out):
    async with LocalStore(store, durability="process-crash") as opened:
        await put_tree(opened, source, name="t")
        peak()
        await checkout(opened, "t", out)
        peak()

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_a_tree(tmp_path: Path) -> None:
    def peak(count: int) -> tuple[int, int]:
        source = tmp_path / str(count)
        for number in range(count):
            folder = source / str(number // 100)
            if number % 100 == 0:
                folder.mkdir(parents=True)
            (folder / str(number)).write_bytes(b"")
        places = [str(tmp_path / f"s{count}"), str(source), str(tmp_path / f"o{count}")]
        done = subprocess.run([sys.executable, "-c", PROGRAM, *places], capture_output=True, check=True, text=True)
        put, out = map(int, done.stdout.split())
        return put, out

    small, large = peak(5_000), peak(40_000)
    print(small, large)
    for before, after in zip(small, large, strict=True):
        assert after - before < 40_000  # kilobytes
