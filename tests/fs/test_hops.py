"""The hops of calls on a `LocalStore`: many reads take one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from trees.conftest import make_source

from steelyard import LocalStore, MemoryStore
from steelyard._runtime import calls
from steelyard.fs import SteelyardFileSystem
from steelyard.trees import put_tree

MANY = 300


@contextmanager
def budget(hops: int) -> Iterator[None]:
    before = calls.counts()["hops"]
    yield
    assert hops == calls.counts()["hops"] - before


def test_many_reads_take_one_hop_and_one_for_each_name(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source")
    for number in range(MANY):
        (source / f"{number}").write_bytes(b"%d" % number * 1000)

    async def main() -> None:
        async with LocalStore(tmp_path / "store", durability="process-crash") as store:
            files = SteelyardFileSystem(store, asynchronous=True)
            await put_tree(store, source, name="tree")
            paths = [f"tree/{number}" for number in range(MANY)]
            digests = [info["digest"] for info in await files._ls("tree") if info["size"]]
            with budget(1):
                assert len(digests) == len(await files._cat_ranges(digests, 0, 100))
            with budget(2):  # the name, then all reads
                found = await files._cat_ranges(paths, -100, None)
            assert [(b"%d" % number * 1000)[-100:] for number in range(MANY)] == found
            with budget(2):
                assert MANY == len(await files._cat(paths))
            with budget(1):  # what the page cache has needs none
                assert b"alpha" == await files._cat_file("tree/a.txt")
            with budget(1):
                await files._info("tree/a/b/deep")

    anyio.run(main)


def test_a_read_of_more_than_a_call_takes_several_hops(tmp_path: Path) -> None:
    data = bytes(3 << 20)

    async def main() -> None:
        async with LocalStore(tmp_path / "store", durability="process-crash") as store:
            files = SteelyardFileSystem(store, asynchronous=True)
            digest = str((await store.put(data)).digest)
            with budget(2):  # of 8 MiB at most
                found = await files._cat_ranges([digest] * 5, 0, [None, 5, None, None, None])
            assert [data, data[:5], data, data, data] == found

    anyio.run(main)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_range_of_a_blob_that_is_missing_or_short_fails_alone(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with LocalStore(tmp_path / "store") if kind == "local" else MemoryStore() as store:
            files = SteelyardFileSystem(store, asynchronous=True)
            digest = str((await store.put(b"data")).digest)
            missing = f"sha256:{64 * '0'}"
            found = await files._cat_ranges([digest, missing, "name", digest], [0, 0, 0, 2], [2, 1, 1, 4])
            assert [b"da", b"ta"] == [found[0], found[3]]
            assert [FileNotFoundError] * 2 == [type(each) for each in found[1:3]]

    anyio.run(main)
