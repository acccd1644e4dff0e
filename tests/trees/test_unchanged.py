"""A second put of a directory reads only what has changed."""

from __future__ import annotations

import os
import resource
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steelyard import Descriptor, LocalStore, Store
from steelyard.testing._values import digest_of
from steelyard.trees import StoredTree, put_tree, tree_of
from steelyard.trees._stat_cache import Row, StatCache

from .conftest import FILES, make_source

pytestmark = pytest.mark.anyio

LONG_AGO = 1_000_000_000
_SOURCES = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give directories whose files have not changed for a while, as many as there are tests: they are made together to wait once."""
    top = tmp_path_factory.mktemp("settled")
    sources = [make_source(top / str(number)) for number in range(_SOURCES)]
    wait_for_the_clock(top)
    return iter(sources)


@pytest.fixture
def settled(made: Iterator[Path]) -> Path:
    """Give a directory whose files have not changed for a while."""
    return next(made)


def wait_for_the_clock(top: Path) -> None:
    """Wait until files that were just written are no longer new: the time of their last change cannot be set."""
    latest = max(path.lstat().st_ctime_ns for path in top.rglob("*"))
    while time.time_ns() <= latest + 2_100_000_000:
        time.sleep(0.05)


async def put(store: Store, source: Path, cache: Path, *, reread: bool = False) -> StoredTree:
    return await put_tree(store, source, name="sources", cache=cache, reread=reread)


async def test_an_unchanged_tree_is_not_read(store: Store, settled: Path, tmp_path: Path) -> None:
    first = await put(store, settled, tmp_path / "cache")
    again = await put(store, settled, tmp_path / "cache")

    assert (6, 0) == (first.read, again.read)
    assert first.target == again.target
    assert 6 == (await put(store, settled, tmp_path / "cache", reread=True)).read
    assert 0 == (await put(store, settled, tmp_path / "cache")).read


CHANGES: dict[str, Callable[[Path], object]] = {
    "size": lambda path: path.write_bytes(b"more bytes"),
    "time": lambda path: os.utime(path, (LONG_AGO, LONG_AGO)),
    "bytes": lambda path: path.write_bytes(b"ALPHA"),
    "inode": lambda path: (path.with_name("new").write_bytes(b"alpha"), path.with_name("new").replace(path)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_file_is_read(settled: Path, tmp_path: Path, change: str) -> None:
    async with LocalStore(tmp_path / "store") as store:
        await put(store, settled, tmp_path / "cache")
        CHANGES[change](settled / "a.txt")
        again = await put(store, settled, tmp_path / "cache")

        assert 1 == again.read
        entry = await (await tree_of(store, "sources")).find("a.txt")
        assert (settled / "a.txt").read_bytes() == await store.get(entry.digest or pytest.fail("no digest"))


async def test_a_file_that_was_just_written_is_read_again(source: Path, tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        (source / "now").write_bytes(b"1")
        await put(store, source, tmp_path / "cache")

        assert 0 < (await put(store, source, tmp_path / "cache")).read


async def test_a_file_whose_blob_is_gone_is_read_again(store: Store, settled: Path, tmp_path: Path) -> None:
    first = await put(store, settled, tmp_path / "cache")
    entry = await (await tree_of(store, "sources")).find("a.txt")
    await store.delete(entry.digest or pytest.fail("no digest"))
    again = await put(store, settled, tmp_path / "cache")

    assert (2, 1) == (again.read, again.new)  # two files have these bytes
    assert first.target == again.target
    assert FILES["a.txt"] == await store.get(entry.digest or pytest.fail("no digest"))


async def test_a_cache_serves_every_store_and_each_algorithm_has_its_own(settled: Path, tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "one") as one, LocalStore(tmp_path / "two") as two:
        await put(one, settled, tmp_path / "cache")
        async with two.lease() as leased:
            assert 6 == (await put(leased, settled, tmp_path / "cache")).read
        blake = await put_tree(two, settled, cache=tmp_path / "cache", algorithm="blake3")
        assert 6 == blake.read
        assert 0 == (await put(two, settled, tmp_path / "cache")).read


@pytest.mark.parametrize("damage", [b"", b"steelyard stat cache 1\n\xff\xff\xff\xff1234", b"\0" * 4096])
async def test_a_damaged_cache_costs_time_only(settled: Path, tmp_path: Path, damage: bytes) -> None:
    cache = tmp_path / "cache"
    async with LocalStore(tmp_path / "store") as store:
        first = await put(store, settled, cache)
        (file,) = cache.iterdir()
        file.write_bytes(damage or file.read_bytes()[:-9])
        again = await put(store, settled, cache)

        assert (first.target, 6) == (again.target, again.read)
        assert 0 == (await put(store, settled, cache)).read
        assert [file] == list(cache.iterdir())


async def test_a_cache_that_cannot_be_written_costs_time_only(settled: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    async with LocalStore(tmp_path / "store") as store:
        for _ in range(2):
            assert 6 == (await put(store, settled, tmp_path / "cache")).read


def test_a_cache_that_cannot_be_written_holds_no_rows_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = StatCache(tmp_path / "file" / "cache", tmp_path, "sha256")
    identity = (1, 2, 3, 4, 5)
    tracemalloc.start()
    try:
        for part in range(20):
            cache.add([Row(f"{part:04}/{number}", identity, "sha256:00") for number in range(2048)])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    cache.finish(Descriptor(digest=digest_of(b"tree"), size=4))

    assert held < 1 << 20


def test_a_cache_that_was_written_in_part_keeps_the_rows_of_the_last_run(tmp_path: Path) -> None:
    identity = (1, 2, 3, 4, 5)
    tree = Descriptor(digest=digest_of(b"tree"), size=4, media_type="text/plain")
    rows = [Row(f"{number:05}", identity, "sha256:00") for number in range(3 * 2048)]
    first = StatCache(tmp_path / "cache", tmp_path, "sha256")
    first.add(rows)
    first.finish(tree)
    size = next((tmp_path / "cache").iterdir()).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    second = StatCache(tmp_path / "cache", tmp_path, "sha256", ignored=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        for start in range(0, len(rows), 2048):
            second.add(rows[start : start + 2048])
        second.finish(tree)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)

    third = StatCache(tmp_path / "cache", tmp_path, "sha256")
    assert tree == third.tree
    assert rows == [third.find(row.path, identity) for row in rows]
    assert 1 == len(list((tmp_path / "cache").iterdir()))


@pytest.mark.slow
async def test_a_file_that_changes_while_it_is_put_is_reported_and_read_again(settled: Path, tmp_path: Path) -> None:
    def change(_: object) -> None:
        with (settled / "a.txt").open("ab") as file:
            file.write(b"x")

    async with LocalStore(tmp_path / "store") as store:
        stored = await put_tree(store, settled, name="sources", cache=tmp_path / "cache", on_progress=change)
        wait_for_the_clock(settled)
        again = await put(store, settled, tmp_path / "cache")

        assert ("a.txt",) == stored.changed
        assert 1 == again.read
        assert () == again.changed
