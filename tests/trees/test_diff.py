"""Differences between trees and directories."""

from __future__ import annotations

import os
import shutil
from contextlib import aclosing
from pathlib import Path

import pytest

from steelyard import MemoryStore
from steelyard.errors import InvalidArgument
from steelyard.trees import diff, put_tree, tree_of
from steelyard.trees._diff import TreeOrDirectory

from .conftest import write_other_name

pytestmark = pytest.mark.anyio


async def differences(before: TreeOrDirectory, after: TreeOrDirectory) -> dict[str, str]:
    async with aclosing(diff(before, after)) as changes:
        return {change.path: change.kind async for change in changes}


def change(top: Path) -> dict[str, str]:
    """Change a directory in each way, and return the differences."""
    (top / "a" / "one").write_bytes(b"2")  # the same size
    (top / "a" / "two").write_bytes(b"longer")
    (top / "empty").chmod(0o755)
    (top / "link").unlink()
    (top / "link").symlink_to("a/two")
    (top / "a.txt").unlink()
    (top / "a.txt").symlink_to("empty")
    (top / "run.sh").unlink()
    (top / "new").write_bytes(b"")
    (top / "nothing" / "here" / "file").write_bytes(b"")
    changed = dict.fromkeys(("a/one", "a/two", "a.txt", "empty", "link"), "changed")
    return changed | {"new": "added", "nothing/here": "removed", "nothing/here/file": "added", "run.sh": "removed"}


@pytest.mark.parametrize("algorithm", ["sha256", "blake3"])
async def test_trees_and_directories_are_compared_alike(source: Path, tmp_path: Path, algorithm: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy, symlinks=True)
    expected = change(copy)
    async with MemoryStore() as store:
        await put_tree(store, source, name="one", algorithm=algorithm)
        await put_tree(store, copy, name="two", algorithm=algorithm)
        sides: list[tuple[TreeOrDirectory, TreeOrDirectory]] = [
            (first, second)
            for first in (source, await tree_of(store, "one"))
            for second in (copy, await tree_of(store, "two"))
        ]
        for first, second in sides:
            assert expected == await differences(first, second)
            assert sorted(expected) == sorted(await differences(second, first))
            for side in (first, second):
                assert {} == await differences(side, side)
        assert {} == await differences(source, await tree_of(store, "one"))


async def test_times_count_where_both_sides_have_them(source: Path) -> None:
    async with MemoryStore() as store:
        await put_tree(store, source, name="without")
        await put_tree(store, source, name="with", times=True)
        os.utime(source / "empty", (1, 1))

        assert {} == await differences(await tree_of(store, "without"), source)
        assert {"empty": "changed"} == await differences(await tree_of(store, "with"), source)
        assert {} == await differences(await tree_of(store, "with"), await tree_of(store, "without"))


async def test_names_that_are_not_utf_8_and_missing_directories_are_errors(source: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await differences(source, tmp_path / "none")
    write_other_name(source)
    with pytest.raises(InvalidArgument, match="expected a name in UTF-8"):
        await differences(source, source)
