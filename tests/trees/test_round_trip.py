"""A directory goes into a store as a tree, and comes out again."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from steelyard import AlreadyExists, LocalStore, MemoryStore, NotFound, Store
from steelyard.errors import InvalidArgument
from steelyard.images import check, export_images, import_images
from steelyard.model import Progress
from steelyard.trees import Entry, checkout, put_tree, tree_of

from .conftest import FILES, contents, write_other_name

pytestmark = pytest.mark.anyio


async def entries_of(store: Store, name: str) -> list[Entry]:
    tree = await tree_of(store, name)
    async with aclosing(tree.entries()) as entries:
        return [entry async for entry in entries]


async def test_what_was_stored_comes_out_as_it_was(store: Store, source: Path, tmp_path: Path) -> None:
    stored = await put_tree(store, source, name="sources")
    found = await checkout(store, "sources", tmp_path / "out")

    assert (6, 2, sum(map(len, FILES.values()))) == (stored.files, stored.links, stored.bytes)
    assert contents(source) == contents(tmp_path / "out")
    assert (stored.target, 6, 8, 0) == (found.target, found.files, found.written, found.removed)


async def test_the_entries_of_a_tree_come_in_order(store: Store, source: Path) -> None:
    await put_tree(store, source, name="sources")
    entries = await entries_of(store, "sources")

    names = ["a/b/deep", "a/dangling", "a/one", "a/two", "a.txt", "empty", "link", "nothing/here", "run.sh"]
    assert names == [entry.path for entry in entries]
    assert ["run.sh"] == [entry.path for entry in entries if entry.executable]
    assert {"a/dangling": "../../outside", "link": "a/one"} == {e.path: e.target for e in entries if e.kind == "link"}
    assert ["nothing/here"] == [entry.path for entry in entries if entry.kind == "directory"]


async def test_equal_directories_are_one_tree_on_every_store(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy, symlinks=True)
    os.utime(copy / "empty", (1, 1))
    async with LocalStore(tmp_path / "store") as local, MemoryStore() as memory:
        one, two = await put_tree(local, source), await put_tree(memory, f"{copy}/")

        assert one.target == two.target
        assert "fdeff5fe" == one.target.digest.encoded[:8]


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "empty").write_bytes(b"1"),
        lambda top: (top / "empty").chmod(0o744),
        lambda top: (top / "nothing" / "here").rmdir(),
        lambda top: (top / "empty").rename(top / "Empty"),
        lambda top: (top / "new").symlink_to("a"),
    ],
    ids=["bytes", "mode", "directory", "name", "link"],
)
async def test_each_change_gives_another_tree(source: Path, change: Callable[[Path], object]) -> None:
    async with MemoryStore() as store:
        before = await put_tree(store, source)
        change(source)

        assert before.target != (await put_tree(store, source)).target


async def test_times_and_owners_are_kept_on_request(source: Path, tmp_path: Path) -> None:
    os.utime(source / "empty", ns=(1, 1_234_567_890_123_456_789))
    async with MemoryStore() as store:
        await put_tree(store, source, name="with", times=True, owners=True)
        await put_tree(store, source, name="without")
        entry = await (await tree_of(store, "with")).find("empty")
        await checkout(store, "with", tmp_path / "out", owners=True)

        assert (os.getuid(), os.getgid()) == entry.owner
        assert 1_234_567_890_123_456_789 == (tmp_path / "out" / "empty").stat().st_mtime_ns == entry.mtime_ns
        plain = await (await tree_of(store, "without")).find("empty")
        assert (None, None) == (plain.mtime_ns, plain.owner)


async def test_an_empty_directory_is_a_tree(store: Store, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    await put_tree(store, tmp_path / "none", name="none")
    await checkout(store, "none", tmp_path / "out")

    assert {} == contents(tmp_path / "out")
    assert (await check(store, "none")).complete


async def test_a_tree_is_complete_and_kept_like_an_image(store: Store, source: Path, tmp_path: Path) -> None:
    stored = await put_tree(store, source, name="sources")
    unnamed = await put_tree(store, source / "a")
    await store.collect(grace=timedelta(0))

    assert (await check(store, "sources")).complete
    assert "sources" == ((await store.why(stored.target.digest)).root or pytest.fail("no root")).name
    assert not await store.exists(unnamed.target.digest)
    await checkout(store, "sources", tmp_path / "out")
    assert contents(source) == contents(tmp_path / "out")


async def test_a_tree_goes_through_an_archive(source: Path, tmp_path: Path) -> None:
    async with MemoryStore() as store, MemoryStore() as other:
        stored = await put_tree(store, source, name="docker.io/demo/sources:1")
        await export_images(store, tmp_path / "a.tar", ["docker.io/demo/sources:1"])
        await import_images(other, tmp_path / "a.tar")
        await checkout(other, "docker.io/demo/sources:1", tmp_path / "out")

        assert stored.target.digest == (await other.images.get("docker.io/demo/sources:1")).target.digest
        assert contents(source) == contents(tmp_path / "out")


async def test_a_name_moves_unless_told_otherwise(store: Store, source: Path) -> None:
    first = await put_tree(store, source / "a", name="sources")
    with pytest.raises(AlreadyExists):
        await put_tree(store, source, name="sources", overwrite=False)
    assert first.target.digest == (await store.images.get("sources")).target.digest

    second = await put_tree(store, source, name="sources")
    assert second.target.digest == (await store.images.get("sources")).target.digest != first.target.digest


async def test_what_is_no_file_is_left_out_and_reported(source: Path) -> None:
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
        async with MemoryStore() as store:
            stored = await put_tree(store, source, leave_out=source / "a")

    assert (("a", "the store itself"), ("pipe", "special file"), ("socket", "special file")) == stored.skipped
    assert 3 == stored.files


async def test_a_name_that_is_not_utf_8_is_refused(source: Path) -> None:
    write_other_name(source)
    async with MemoryStore() as store:
        with pytest.raises(InvalidArgument, match=r"caf\\xe9: expected a name in UTF-8"):
            await put_tree(store, source, name="sources")
        assert [] == await store.images.list()


async def test_a_file_that_cannot_be_stored_fails_the_tree_and_names_itself(source: Path) -> None:
    for number in range(300):
        (source / f"x{number}").write_bytes(b"%d" % number)
    async with MemoryStore() as store:
        with pytest.raises(ExceptionGroup, match="1 entries of the tree could not be stored") as caught:
            await put_tree(
                store, source, name="sources", on_progress=lambda _: (source / "x99").unlink(missing_ok=True)
            )
        (error,) = caught.value.exceptions
        assert isinstance(error, FileNotFoundError)
        assert "file: x99" in error.__notes__
        assert [] == await store.images.list()


async def test_a_missing_directory_or_tree_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await put_tree(store, tmp_path / "none")
    with pytest.raises(NotFound, match="image name none"):
        await checkout(store, "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_progress_names_each_file(source: Path, tmp_path: Path) -> None:
    stored: list[Progress] = []
    written: list[Progress] = []
    async with MemoryStore() as store:
        await put_tree(store, source, name="sources", on_progress=stored.append)
        await checkout(store, "sources", tmp_path / "out", on_progress=written.append)

    for reports in (stored, written):
        assert {name: len(data) for name, data in FILES.items()} == {each.name: each.done for each in reports}
        assert len(FILES) == len(reports)


async def test_a_cancelled_put_sets_no_name_and_can_be_repeated(source: Path, tmp_path: Path) -> None:
    for number in range(300):
        (source / str(number)).write_bytes(b"%d" % number)
    async with LocalStore(tmp_path / "store") as store:
        with anyio.CancelScope() as scope:

            def cancel(_: Progress) -> None:
                scope.cancel()

            await put_tree(store, source, name="sources", on_progress=cancel)
        assert scope.cancelled_caught
        assert [] == await store.images.list()
        assert [] == await store.leases.list()

        await put_tree(store, source, name="sources")
        await checkout(store, "sources", tmp_path / "out")
    assert contents(source) == contents(tmp_path / "out")
