"""Trees with paths that lead out of the directory, and directories with links that lead out of it."""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard import DataCorrupt, Digest, LocalStore, MemoryStore, NotFound, Store
from steelyard.errors import InvalidDocument, StorageError
from steelyard.trees import checkout, put_tree, tree_of
from steelyard.trees._entry import order_of, path_fault

from .conftest import contents
from .made import TREE, document, index_of, keep, manifest_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """Give an empty store."""
    async with MemoryStore() as store:
        yield store


PATHS = ("/etc/x", "../x", "a/../../x", "a/./x", "a//x", "a/", "", ".", "..", "a\0b", "//x")


@pytest.mark.parametrize("path", PATHS, ids=[ascii(path) for path in PATHS])
@pytest.mark.parametrize("kind", ["file", "link", "directory", "foreign"])
async def test_a_path_out_of_the_tree_is_refused(store: Store, path: str, kind: str, tmp_path: Path) -> None:
    files = [(path, b"1")] if kind in {"file", "foreign"} else []
    configs: dict[str, dict[str, Any]] = {"link": {"links": {path: "x"}}, "directory": {"directories": [path]}}
    artifact = None if kind == "foreign" else TREE
    await keep(store, "bad", await manifest_of(store, files, configs.get(kind), artifact=artifact))

    with pytest.raises(InvalidDocument, match="expected a path below the root of the tree") as caught:
        await checkout(store, "bad", tmp_path / "out")
    assert repr(path) in str(caught.value)
    assert {"out": ("directory", None)} == contents(tmp_path)


@pytest.mark.parametrize(
    ("files", "config", "found"),
    [
        ([("a", b"1"), ("a", b"2")], {}, "entry 'a'"),
        ([("a", b"1"), ("a/b", b"2")], {}, "expected a directory at 'a', found a file"),
        ([("a/b/c", b"2")], {"links": {"a": "/"}}, "expected a directory at 'a', found a link"),
        ([("a", b"2")], {"links": {"a": "/"}}, "entry 'a'"),
        ([], {"links": {"a": ""}}, "expected the target of a link"),
        ([], {"links": {"a": "b\0c"}}, "expected the target of a link"),
        ([], {"links": {"a": 1}}, "expected the config of a tree"),
        ([], {"directories": "a"}, "expected the config of a tree"),
    ],
)
async def test_a_contradiction_is_refused(
    store: Store, files: list[tuple[str, bytes]], config: dict[str, Any], found: str, tmp_path: Path
) -> None:
    await keep(store, "bad", await manifest_of(store, files, config))

    with pytest.raises(InvalidDocument) as caught:
        await checkout(store, "bad", tmp_path / "out")
    assert found in str(caught.value)
    assert {"out": ("directory", None)} == contents(tmp_path)


async def test_manifests_of_an_index_are_in_order_and_do_not_overlap(store: Store, tmp_path: Path) -> None:
    first, second = await manifest_of(store, [("a", b"1")]), await manifest_of(store, [("b", b"2")])
    below = await manifest_of(store, [("b/c", b"1")])
    for manifests in ((second, first), (first, first), (second, below)):
        await keep(store, "bad", await index_of(store, *manifests))
        with pytest.raises(InvalidDocument):
            await checkout(store, "bad", tmp_path / "out")

    await keep(store, "good", await index_of(store, first, second))
    await checkout(store, "good", tmp_path / "out", delete=True)
    assert {"a", "b"} == set(contents(tmp_path / "out"))


async def test_an_image_is_no_tree(store: Store, tmp_path: Path) -> None:
    await keep(store, "image", await manifest_of(store, [], artifact=None))
    with pytest.raises(InvalidDocument, match="expected a tree"):
        await checkout(store, "image", tmp_path / "out")
    with pytest.raises(NotFound):
        await tree_of(store, Digest.parse(f"sha256:{'0' * 64}"))
    assert not (tmp_path / "out").exists()


async def test_links_in_the_directory_are_not_followed(store: Store, source: Path, tmp_path: Path) -> None:
    await put_tree(store, source, name="sources")
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    (outside / "one").write_bytes(b"mine")
    out.mkdir()
    (out / "a").symlink_to(outside)  # where the tree has a directory
    (out / "a.txt").symlink_to(outside / "one")  # where the tree has a file
    (out / "empty").symlink_to(outside)
    before = contents(outside)

    with pytest.raises(ExceptionGroup) as caught:
        await checkout(store, "sources", out)
    assert all(isinstance(error, StorageError) for error in caught.value.exceptions)
    assert {str(out / each) for each in ("a/b/deep", "a/dangling", "a/one", "a/two")} == {
        error.filename for error in caught.value.exceptions if isinstance(error, OSError)
    }
    assert before == contents(outside)
    assert b"alpha" == (out / "a.txt").read_bytes()
    assert not (out / "a.txt").is_symlink()

    await checkout(store, "sources", out, delete=True)
    assert before == contents(outside)
    assert contents(source) == contents(out)


async def test_a_link_of_the_tree_is_never_written_through(store: Store, tmp_path: Path) -> None:
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    await keep(store, "one", await manifest_of(store, [], {"links": {"a": str(outside), "b": ".."}}))
    await keep(store, "two", await manifest_of(store, [("a/x", b"1"), ("b/y", b"1")]))
    await checkout(store, "one", out)

    with pytest.raises(ExceptionGroup):
        await checkout(store, "two", out)
    assert {} == contents(outside)
    assert {"outside", "out", "out/a", "out/b"} == set(contents(tmp_path))


async def test_what_the_tree_lacks_is_removed_without_following_links(
    store: Store, source: Path, tmp_path: Path
) -> None:
    await put_tree(store, source, name="sources")
    outside, out = tmp_path / "outside", tmp_path / "out"
    (outside / "kept").mkdir(parents=True)
    await checkout(store, "sources", out)
    (out / "a" / "more" / "deep").mkdir(parents=True)
    (out / "a" / "more" / "outside").symlink_to(outside)
    (out / "zz").symlink_to(outside)
    (out / "nothing" / "here" / "file").write_bytes(b"1")
    os.mkfifo(out / "pipe")

    kept = await checkout(store, "sources", out)
    assert 0 == kept.removed
    assert (out / "pipe").exists()
    found = await checkout(store, "sources", out, delete=True)
    assert (0, 4) == (found.written, found.removed)
    assert contents(source) == contents(out)
    assert {"kept"} == set(contents(outside))


async def test_directories_deeper_than_the_stack_of_python_are_removed(
    store: Store, source: Path, tmp_path: Path
) -> None:
    await put_tree(store, source, name="sources")
    out = tmp_path / "out"
    out.mkdir()
    here = os.open(out, os.O_RDONLY)
    for _ in range(depth := sys.getrecursionlimit() + 100):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(here)
        here = below
    os.close(here)
    assert depth < resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100, "each directory is open meanwhile"

    found = await checkout(store, "sources", out, delete=True)
    assert 1 == found.removed
    assert contents(source) == contents(out)


async def test_what_cannot_be_removed_is_an_error_of_its_own_and_the_rest_is_right(
    store: Store, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_tree(store, source, name="sources")
    out = tmp_path / "out"
    for name in ("a/held", "a/other", "held", "other"):
        (out / name).mkdir(parents=True)
    rmdir = os.rmdir

    def refuse(name: str, *, dir_fd: int) -> None:
        if name == "held":  # a mount point would be refused so
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), name)
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(ExceptionGroup, match="2 entries of the tree could not be written or removed") as caught:
        await checkout(store, "sources", out, delete=True)
    monkeypatch.undo()
    assert {(StorageError, str(out / "a/held")), (StorageError, str(out / "held"))} == {
        (type(error), getattr(error, "filename", None)) for error in caught.value.exceptions
    }
    for name in ("a/held", "held"):
        (out / name).rmdir()
    assert contents(source) == contents(out)


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
async def test_a_small_file_of_another_size_than_the_tree_says_is_refused(
    kind: type[LocalStore | MemoryStore], tmp_path: Path
) -> None:
    async with LocalStore(tmp_path / "store") if kind is LocalStore else MemoryStore() as store:
        await _refuses_another_size(store, tmp_path / "out")


async def _refuses_another_size(store: Store, folder: Path) -> None:
    manifest = await manifest_of(store, [("a", b"1"), ("b", b"wool")])
    value = json.loads(await store.get(manifest["digest"]))
    value["layers"][0]["size"] = 2
    await keep(store, "bad", await document(store, value, manifest["mediaType"]))

    with pytest.raises(ExceptionGroup) as caught:
        await checkout(store, "bad", folder)
    (error,) = caught.value.exceptions
    assert isinstance(error, DataCorrupt)
    assert "expected 2 bytes, found 1 byte" in str(error)
    assert {"b"} == set(contents(folder))


async def test_a_path_that_is_not_unicode_is_not_found(store: Store) -> None:
    await keep(store, "tree", await manifest_of(store, [("a", b"1")]))
    with pytest.raises(NotFound):
        await (await tree_of(store, "tree")).find("\udc80")


@pytest.mark.parametrize("delete", [False, True])
async def test_a_directory_in_the_place_of_a_file_is_an_error_and_the_rest_is_right(
    store: Store, source: Path, tmp_path: Path, delete: bool
) -> None:
    await put_tree(store, source, name="sources")
    out = tmp_path / "out"
    for name in ("a.txt", "link", "empty/x"):
        (out / name).mkdir(parents=True)
    (out / "a").write_bytes(b"a file")
    (out / "nothing").mkdir()
    (out / "nothing" / "here").write_bytes(b"a file")

    if delete:
        await checkout(store, "sources", out, delete=True)
    else:
        with pytest.raises(ExceptionGroup, match="8 entries of the tree could not be written"):
            await checkout(store, "sources", out)
        assert b"#!/bin/sh\n" == (out / "run.sh").read_bytes()
        for name in ("a.txt", "link", "empty/x", "empty"):
            (out / name).rmdir()
        (out / "a").unlink()
        (out / "nothing" / "here").unlink()
        await checkout(store, "sources", out)
    assert contents(source) == contents(out)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=4)


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), unique=True, min_size=1, max_size=12))
def test_the_order_keeps_what_is_below_a_directory_together(paths: list[str]) -> None:
    valid = sorted((path for path in paths if path_fault(path) is None), key=order_of)

    assert valid == sorted(valid, key=lambda path: [part.encode() for part in path.split("/")])
    for place, path in enumerate(valid):
        below = [other.startswith(f"{path}/") for other in valid[place + 1 :]]
        assert below == sorted(below, reverse=True)


async def test_names_that_a_file_system_takes_for_one_are_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(store, "case", await manifest_of(store, [("a/README", b"1"), ("a/readme", b"2"), ("b/readme", b"3")]))
    await checkout(store, "case", tmp_path / "plain")
    assert b"2" == (tmp_path / "plain" / "a" / "readme").read_bytes()

    # No file system of this kind can be mounted everywhere.
    monkeypatch.setattr("steelyard.trees._destination._folds_names", lambda _: True)
    with pytest.raises(InvalidDocument, match=r"entry 'a/readme': expected a name that is not the same as 'README' "):
        await checkout(store, "case", tmp_path / "folding")
    await keep(store, "one", await manifest_of(store, [("a/Straße", b"1"), ("a/STRASSE", b"2")]))
    with pytest.raises(InvalidDocument):
        await checkout(store, "one", tmp_path / "folding")
