"""Checkouts on file systems that can share blocks, and on a full one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.disks import MUST, fill, mounted

from steelyard import LocalStore
from steelyard.errors import StorageFull
from steelyard.trees import checkout, put_tree

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LARGE = 3 << 20


def make(top: Path) -> None:
    for number in range(40):
        (top / str(number)).mkdir(parents=True)
        (top / str(number) / "small").write_bytes(b"%d" % number * 2000)
    (top / "large").write_bytes(os.urandom(LARGE))


def same(source: Path, out: Path) -> None:
    subprocess.run(["diff", "-r", source, out], check=True)


def extents(path: Path) -> str:
    return subprocess.run(["filefrag", "-v", path], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
async def test_a_large_file_shares_its_blocks_with_the_store(tmp_path: Path, kind: str) -> None:
    if shutil.which("filefrag") is None:
        (pytest.fail if MUST else pytest.skip)("filefrag is not installed")
    make(tmp_path / "source")
    with mounted(kind, tmp_path) as point:
        async with LocalStore(point / "store") as store:
            await put_tree(store, tmp_path / "source", name="tree")
            await checkout(store, "tree", point / "out")

        assert "shared" in extents(point / "out" / "large")
        same(tmp_path / "source", point / "out")
        with (point / "out" / "large").open("ab") as file:
            file.write(b"ours now")
        async with LocalStore(point / "store") as store:
            assert [] == [each async for each in store.verify_all() if each.error is not None]


async def test_hard_links_are_the_stores_own_files(tmp_path: Path) -> None:
    make(tmp_path / "source")
    (tmp_path / "source" / "program").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "source" / "program").chmod(0o755)
    async with LocalStore(tmp_path / "store") as store:
        await put_tree(store, tmp_path / "source", name="tree")
        await checkout(store, "tree", tmp_path / "out", hard_links=True)

    out = tmp_path / "out"
    assert all((out / name).stat().st_nlink == 2 for name in ("large", "7/small"))
    assert 1 == (out / "program").stat().st_nlink
    same(tmp_path / "source", out)


async def test_a_full_disk_leaves_whole_files_and_a_repeated_checkout_writes_the_rest(tmp_path: Path) -> None:
    make(tmp_path / "source")
    async with LocalStore(tmp_path / "store") as store:
        await put_tree(store, tmp_path / "source", name="tree")
        with mounted("ext4", tmp_path) as point:
            await checkout(store, "tree", point / "out")
            shutil.rmtree(point / "out" / "7")
            (point / "out" / "large").unlink()
            fill(point)
            with pytest.raises(ExceptionGroup) as caught:
                await checkout(store, "tree", point / "out")
            assert all(isinstance(error, StorageFull) for error in caught.value.exceptions)
            for path in (point / "out").rglob("*"):
                original = tmp_path / "source" / path.relative_to(point / "out")
                assert path.is_dir() or path.read_bytes() == original.read_bytes()
            for path in point.iterdir():
                if path.name not in {"out", "lost+found"}:
                    path.unlink()
            await checkout(store, "tree", point / "out")
            same(tmp_path / "source", point / "out")
