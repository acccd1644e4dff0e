"""Image names in LocalStore: several stores on one root, older files, a rebuild."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path

import anyio
import pytest

from local.make_golden import GOLDEN, LABELS
from steelyard import AlreadyExists, Descriptor, Digest, LocalStore, digest_of
from steelyard.errors import NameMoved

pytestmark = pytest.mark.anyio
TARGET = Descriptor(digest=Digest.parse("sha256:" + "ab" * 32), size=3, media_type="text/plain")


async def test_names_outlive_the_store_object_and_are_seen_by_others(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store, LocalStore(tmp_path) as other:
        image = await store.images.create("a", TARGET, labels={"k": "v"})

        assert image == await other.images.get("a")
        await other.images.delete("a")
        assert [] == await store.images.list()
        image = await other.images.create("b", TARGET)
    async with LocalStore(tmp_path, read_only=True) as store:
        assert [image] == await store.images.list()
        with pytest.raises(OSError, match="read-only"):
            await store.images.create("c", TARGET)


async def test_of_many_who_make_the_same_name_one_does(tmp_path: Path) -> None:
    won = []

    async def make(store: LocalStore, number: int) -> None:
        try:
            await store.images.create("a", TARGET, labels={"by": str(number)})
        except AlreadyExists:
            return
        won.append(str(number))

    async with LocalStore(tmp_path) as store, LocalStore(tmp_path) as other:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(make, (store, other)[number % 2], number)

        assert [(await store.images.get("a")).labels["by"]] == won


async def test_counting_up_by_compare_loses_no_step(tmp_path: Path) -> None:
    """Two processes move one name, each from what it saw; every step is made from the one before."""
    program = """
import sys, anyio
from steelyard import Descriptor, LocalStore, digest_of
from steelyard.errors import NameMoved
import msgspec
async def main():
    async with LocalStore(sys.argv[1], durability="process-crash") as store:
        done = 0
        while done < 25:
            image = await store.images.get("count")
            number = int(image.labels["number"]) + 1
            target = Descriptor(digest=await digest_of(str(number).encode()))
            moved = msgspec.structs.replace(image, target=target, labels={"number": str(number)})
            try:
                await store.images.update(moved, expected=image.target.digest)
                done += 1
            except NameMoved:
                pass
anyio.run(main)
"""
    async with LocalStore(tmp_path) as store:
        zero = Descriptor(digest=await digest_of(b"0"))
        await store.images.create("count", zero, labels={"number": "0"})
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(anyio.run_process, [sys.executable, "-c", program, str(tmp_path)])
        image = await store.images.get("count")

        assert "50" == image.labels["number"]
        assert await digest_of(b"50") == image.target.digest
        with pytest.raises(NameMoved):
            await store.images.delete("count", expected=zero.digest)


async def test_a_root_of_the_first_release_gets_names_and_keeps_its_labels(tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(GOLDEN, root)
    async with LocalStore(root, read_only=True) as store:
        assert [] == await store.images.list()
        assert [] == store.notes()
    async with LocalStore(root) as store:
        image = await store.images.create("a", TARGET)
    async with LocalStore(root) as store:
        assert [image] == await store.images.list()
        assert LABELS in [dict(info.labels) async for info in store.walk()]


async def test_a_rebuild_keeps_names(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        image = await store.images.create("a", TARGET, labels={"k": "v"})
        lines = await store.rebuild()

        assert [image] == await store.images.list()
        assert any("kept 1 image names" in line for line in lines)


async def test_the_table_is_readable_with_any_sqlite(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        await store.images.create("a", TARGET, labels={"k": "v"})
    connection = sqlite3.connect(tmp_path / "meta.db")
    rows = connection.execute("SELECT name, digest, size, media_type, annotations, labels FROM images").fetchall()
    connection.close()

    assert [("a", str(TARGET.digest), 3, "text/plain", None, '{"k":"v"}')] == rows
