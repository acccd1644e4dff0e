"""New blobs and names, and the changes that are refused."""

from __future__ import annotations

import errno
import gc
import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import fsspec.asyn
import pytest
from trees.conftest import make_source

from steelyard import Descriptor, Digest, MemoryStore, Store
from steelyard.errors import InvalidArgument, UnexpectedDigest, Unsupported
from steelyard.fs import SteelyardFileSystem
from steelyard.model import Labels
from steelyard.trees import put_tree

from .conftest import on_store

LARGE = bytes(range(256)) * (12 << 12)  # 12 MiB: more than two blocks


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def left(files: SteelyardFileSystem) -> list[Any]:
    """Return the ingests and the leases of a store, once those that are being discarded are gone."""

    async def look(store: Store) -> list[Any]:
        for _ in range(1000):  # a file that was dropped is discarded soon, not at once
            if not await store.list_statuses() and not await store.leases.list():
                break
            await anyio.sleep(0.01)
        return [*await store.list_statuses(), *await store.leases.list()]

    return on_store(files, look)


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_a_file_appears_when_it_is_closed(files: SteelyardFileSystem, data: bytes) -> None:
    file = files.open("dir/a", "wb")
    half = len(data) // 2
    file.write(data[:half])
    file.write(memoryview(data)[half:])
    assert not files.exists("dir/a")
    file.close()

    assert data == files.cat("dir/a")
    assert sha256(data) == str(file.digest) == files.info("dir/a")["digest"]
    assert (True, len(data)) == (file.result.new, file.result.size)
    assert "application/octet-stream" == files.info("dir/a")["media_type"]
    assert [] == left(files)
    file.close()


def test_a_file_replaces_another_in_one_step(files: SteelyardFileSystem) -> None:
    files.pipe("a", b"old")
    with files.open("a", "wb", media_type="text/plain") as file:
        file.write(LARGE)
        assert b"old" == files.cat("a")

    assert LARGE == files.cat("a")
    assert "text/plain" == files.info("a")["media_type"]


def _raises_in_the_block(files: SteelyardFileSystem) -> None:
    with files.open("a", "wb") as file:
        file.write(LARGE)
        raise ZeroDivisionError


def _closes_in_an_exit_of_its_own(files: SteelyardFileSystem) -> None:
    file = files.open("a", "wb")
    try:
        file.write(LARGE)
        raise ZeroDivisionError
    finally:
        file.close()


def _closes_a_text_file(files: SteelyardFileSystem) -> None:
    with files.open("a", "w") as file:
        file.write("text" * 1000)
        raise ZeroDivisionError


def _drops_it(files: SteelyardFileSystem) -> None:
    files.open("a", "wb").write(LARGE)
    gc.collect()
    raise ZeroDivisionError


@pytest.mark.parametrize("write", [_raises_in_the_block, _closes_in_an_exit_of_its_own, _closes_a_text_file, _drops_it])
def test_a_file_that_was_not_finished_is_nothing(
    files: SteelyardFileSystem, write: Callable[[SteelyardFileSystem], None]
) -> None:
    files.pipe("a", b"old")
    with pytest.raises(ZeroDivisionError):
        write(files)

    assert b"old" == files.cat("a")
    assert [] == left(files)


def test_a_file_that_is_opened_and_closed_while_an_error_is_handled_is_stored(files: SteelyardFileSystem) -> None:
    try:
        int("wool")
    except ValueError:
        with files.open("a", "wb") as file:
            file.write(b"report")

    assert b"report" == files.cat("a")


def test_a_path_of_an_algorithm_stores_without_a_name(files: SteelyardFileSystem) -> None:
    with files.open("steelyard://sha512:", "wb") as file:
        file.write(b"data")

    assert f"sha512:{hashlib.sha512(b'data').hexdigest()}" == str(file.digest)
    assert sha256(LARGE) == str(files.pipe_file("sha256:", LARGE).digest)
    assert b"data" == files.cat(str(file.digest))
    assert [] == files.ls("")


def test_a_path_of_a_digest_takes_only_its_bytes(files: SteelyardFileSystem) -> None:
    path = sha256(LARGE)
    for _ in range(2):
        for data in (b"x", LARGE[:-1], b"x" * len(LARGE)):
            with pytest.raises(UnexpectedDigest), files.open(path, "wb") as file:
                file.write(data)
            with pytest.raises(UnexpectedDigest):
                files.pipe_file(path, data)
        with files.open(path, "wb") as file:
            file.write(LARGE)
        assert path == str(file.digest)

    assert LARGE == files.cat(path)
    assert [] == left(files)


def test_many_names_are_set_at_once(tree: SteelyardFileSystem) -> None:
    values: dict[str, Any] = {f"many/{number}": b"%d" % number for number in range(100)}
    results = tree.pipe(values | {"sha512:": b"data", sha256(LARGE): LARGE, "buffer": bytearray(b"1")})

    assert values == tree.cat("many", recursive=True)
    assert [sha256(value) for value in values.values()] == [str(result.digest) for result in results[:100]]
    assert f"sha512:{hashlib.sha512(b'data').hexdigest()}" == str(results[100].digest)
    for bad in ({"work/tree/new": b"1"}, {"work/tree": b"1"}, {sha256(b"1"): b"2"}, {"text": "a path"}, {"none": None}):
        with pytest.raises((OSError, UnexpectedDigest, TypeError)):
            tree.pipe({"new": b"1", "newer": b"2"} | bad)
    with pytest.raises(FileExistsError):
        tree.pipe({"new": b"1", "many/1": b"2"}, mode="create")
    assert {"buffer", "many", "work"} == set(tree.ls("", detail=False))
    assert [] == tree.pipe({})


@pytest.mark.parametrize("value", ["a path", None, 1, ["bytes"]])
def test_only_bytes_are_piped(files: SteelyardFileSystem, value: object) -> None:
    with pytest.raises(TypeError):
        files.pipe_file("a", value)
    with pytest.raises(TypeError):
        files.pipe("a", value)


def test_put_stores_files_and_returns_results(files: SteelyardFileSystem, tmp_path: Path) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    (tmp_path / "in/a").write_bytes(b"1")
    (tmp_path / "in/sub/b").write_bytes(LARGE)
    results = files.put(str(tmp_path / "in"), "out", recursive=True)

    assert {"out/a": b"1", "out/sub/b": LARGE} == files.cat("out", recursive=True)
    assert {sha256(b"1"), sha256(LARGE)} == {str(result.digest) for result in results}
    with pytest.raises(FileExistsError):
        files.put_file(str(tmp_path / "in/a"), "out/a", mode="create")


def test_an_exclusive_file_loses_to_one_that_came_meanwhile(files: SteelyardFileSystem) -> None:
    file = files.open("a", "xb")
    file.write(b"late")
    files.pipe("a", b"first")
    with pytest.raises(FileExistsError):
        file.close()

    assert b"first" == files.cat("a")
    assert [] == left(files)


def test_a_transaction_sets_names_at_its_end(files: SteelyardFileSystem) -> None:
    with files.transaction:
        for name, data in (("a", b"1"), ("b", LARGE), ("c", b"")):
            with files.open(name, "wb") as file:
                file.write(data)
        assert [] == files.ls("")
    assert {"a": b"1", "b": LARGE, "c": b""} == files.cat(["a", "b", "c"])

    def lose() -> None:
        with files.transaction:
            files.open("a", "wb").write(b"not closed")
            files.open("new", "xb").write(LARGE)
            files.pipe_file("new", b"first")

    with pytest.raises(FileExistsError):
        lose()
    assert (b"1", b"first") == (files.cat("a"), files.cat("new"))
    with files.transaction:
        files.open("a", "wb").write(b"not closed")
    assert b"not closed" == files.cat("a")
    files.pipe_file("a", b"1")

    def fail() -> None:
        with files.transaction:
            with files.open("a", "wb") as file:
                file.write(LARGE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert b"1" == files.cat("a")
    assert [] == left(files)


READ_ONLY: list[Callable[[SteelyardFileSystem], object]] = [
    lambda files: files.open("work/tree/new", "wb"),
    lambda files: files.open("work/tree/a.txt", "wb"),
    lambda files: files.pipe_file("work/tree/a.txt", b"1"),
    lambda files: files.put_file(__file__, "work/tree/new"),
    lambda files: files.cp_file("work/tree/a.txt", "work/tree/b.txt"),
    lambda files: files.rm("work/tree/a.txt"),
    lambda files: files.rm_file("work/tree/a.txt"),
    lambda files: files.rm("work/tree/a", recursive=True),
    lambda files: files.mv("work/tree/a.txt", "moved"),
    lambda files: files.rm(files.info("work/tree/a.txt")["digest"]),
    lambda files: files.cp_file("work/tree/a.txt", "sha256:"),
    lambda files: files.pipe_file(f"{files.info('work/tree')['digest']}/new", b"1"),
]


@pytest.mark.parametrize("place", range(len(READ_ONLY)))
def test_trees_and_blobs_do_not_change(tree: SteelyardFileSystem, place: int) -> None:
    before = tree.find("", detail=True)
    with pytest.raises(OSError, match="Read-only") as caught:
        READ_ONLY[place](tree)

    assert errno.EROFS == caught.value.errno
    assert isinstance(caught.value.__cause__, Unsupported)
    assert before == tree.find("", detail=True)


def test_a_tree_is_not_replaced_by_a_file(tree: SteelyardFileSystem) -> None:
    writes: list[Callable[[], object]] = [
        lambda: tree.open("work/tree", "wb"),
        lambda: tree.pipe_file("work/tree", b"1"),
    ]
    for write in writes:
        with pytest.raises(IsADirectoryError):
            write()
    with pytest.raises(IsADirectoryError):
        tree.pipe_file("", b"1")


@pytest.mark.parametrize("mode", ["ab", "r+b", "w+b", "a", "r+"])
def test_modes_that_change_a_file_are_refused(files: SteelyardFileSystem, mode: str) -> None:
    files.pipe("a", b"1")
    with pytest.raises(NotImplementedError, match="mode") as caught:
        files.open("a", mode)
    assert isinstance(caught.value.__cause__, Unsupported)


@pytest.mark.parametrize("name", ["a//b", "line\nbreak", "x" * 5000])
def test_names_that_cannot_be_are_refused(files: SteelyardFileSystem, name: str) -> None:
    with pytest.raises(InvalidArgument):
        files.pipe_file(name, b"1")
    assert [] == files.ls("")


def test_rm_removes_names_only(tree: SteelyardFileSystem) -> None:
    result = tree.pipe_file("dir/a", b"data")
    tree.pipe({"dir/b/c": b"data", "dirt": b"data"})
    with pytest.raises(IsADirectoryError):
        tree.rm("dir")
    with pytest.raises(IsADirectoryError):
        tree.rm("work/tree")
    with pytest.raises(FileNotFoundError):
        tree.rm(["dir/a", "nothing"])
    assert tree.exists("dir/a")
    tree.rm("dir", recursive=True)
    tree.rm("work/tree", recursive=True)

    assert ["dirt"] == tree.find("")
    assert b"data" == tree.cat(str(result.digest))
    tree.rm("dir*")
    assert [] == tree.ls("")


def test_cp_and_mv_set_names_and_move_no_byte(tree: SteelyardFileSystem) -> None:
    tree.pipe_file("a", LARGE, media_type="text/plain")
    tree.cp("a", "b")
    tree.cp("work/tree/a.txt", "out.txt")
    tree.cp("work/tree", "again", recursive=True)
    tree.cp("work/tree", "dir/", recursive=True)
    tree.mv("b", "c")
    tree.mv("again", "moved", recursive=True)

    assert {"a", "c", "dir", "moved", "out.txt", "work"} == set(tree.ls("", detail=False))
    assert "text/plain" == tree.info("c")["media_type"]
    assert tree.info("work/tree")["digest"] == tree.info("moved")["digest"] == tree.info("dir/tree")["digest"]
    assert b"alpha" == tree.cat("out.txt") == tree.cat("moved/a.txt")
    with pytest.raises(IsADirectoryError):
        tree.mv("moved", "lost")
    assert tree.exists("moved")
    for source in ("moved", "absent", "a"):
        with pytest.raises(NotImplementedError, match="maxdepth"):
            tree.mv(source, "a", recursive=True, maxdepth=1)
    tree.mv("a", "steelyard://a")
    assert tree.exists("a")


def test_a_digest_gets_a_name_by_cp(tree: SteelyardFileSystem) -> None:
    blob, top = str(tree.pipe_file("sha256:", LARGE).digest), tree.info("work/tree")["digest"]
    tree.cp(blob, "blob")
    tree.cp(top, "again", recursive=True)

    assert LARGE == tree.cat("blob")
    assert b"alpha" == tree.cat("again/a.txt")
    for missing in (f"sha256:{64 * '0'}", "nothing"):
        with pytest.raises(FileNotFoundError):
            tree.cp(missing, "b")
    assert not tree.exists("b")


def test_a_directory_of_a_tree_is_copied_as_names_of_its_files(tree: SteelyardFileSystem) -> None:
    tree.cp("work/tree/a", "out", recursive=True)

    assert {"out/b/deep": b"deep", "out/one": b"1", "out/two": b"alpha"} == {
        path: tree.cat(path) for path in tree.find("out") if not path.endswith("dangling")
    }


def test_bytes_survive_a_collection_between_close_and_the_name(files: SteelyardFileSystem) -> None:
    """A lease protects what is written, also what was garbage before."""

    async def note(store: Store) -> None:
        await store.put(LARGE)
        await store.collect(grace=timedelta(0), dry_run=True)

    async def collect(store: Store) -> Digest:
        await store.collect(grace=timedelta(0))
        return (await store.images.get("a")).target.digest

    on_store(files, note)
    with files.open("a", "wb") as file:
        file.write(LARGE)
    assert file.digest == on_store(files, collect)
    assert LARGE == files.cat("a")
    held = Descriptor(digest=file.digest, size=len(LARGE), media_type="application/octet-stream")
    assert held == on_store(files, _target)


class CountingStore(MemoryStore):
    """A store in memory that counts its leases."""

    leased = 0

    async def _begin_lease(self, lease: str, labels: Labels, expires: timedelta | None) -> None:
        type(self).leased += 1
        await super()._begin_lease(lease, labels, expires)


def test_many_files_take_one_lease(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source")
    (source / "a" / "dangling").unlink()
    store = CountingStore()
    files = SteelyardFileSystem(store)

    async def put() -> None:
        await put_tree(store, source, name="tree")

    fsspec.asyn.sync(files.loop, put)
    for change in (
        lambda: files.put(str(source), "copy", recursive=True),
        lambda: files.cp("tree/a", "out", recursive=True),
        lambda: files.put([str(source / "a.txt")] * 2, ["1", "2"]),
    ):
        CountingStore.leased = 0
        change()
        assert 1 == CountingStore.leased
    assert b"alpha" == files.cat("copy/a.txt") == files.cat("2")
    assert [] == left(files)


async def _target(store: Store) -> Descriptor:
    return (await store.images.get("a")).target
