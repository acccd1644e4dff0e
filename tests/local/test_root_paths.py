"""Roots whose path is long, is not UTF-8 or cannot be opened: they work, or the error says what is wrong with which path."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.disks import mounted

from steelyard import FailedPrecondition, LocalStore, StorageError

pytestmark = pytest.mark.anyio

CHILD = """
import sys, anyio
from steelyard import LocalStore

async def main():
    async with LocalStore(sys.argv[1]) as store:
        info = await store.info(sys.argv[2])
        await store.put(b"another", labels=dict(info.labels))

anyio.run(main)
"""


async def test_a_path_longer_than_sqlite_takes_works(tmp_path: Path) -> None:
    root = tmp_path.joinpath(*["x" * 150] * 5)
    async with LocalStore(root) as store, LocalStore(root) as beside:
        digest = (await store.put(b"far away", labels={"a": "b"})).digest
        assert (await beside.info(digest)).labels == {"a": "b"}
        subprocess.run([sys.executable, "-c", CHILD, str(root), str(digest)], check=True)  # noqa: ASYNC221
        assert [info.labels async for info in store.walk("labels.a==b")] == [{"a": "b"}] * 2
    assert {"meta.db", "blobs", "lock"} <= {path.name for path in root.iterdir()}
    async with LocalStore(root, read_only=True) as store:
        assert (await store.info(digest)).labels == {"a": "b"}


async def test_a_path_longer_than_the_system_takes_is_refused_by_name(tmp_path: Path) -> None:
    root = tmp_path / ("x" * 300)
    with pytest.raises(StorageError) as refusal:
        async with LocalStore(root):
            pass

    assert refusal.value.errno == errno.ENAMETOOLONG
    assert refusal.value.filename == str(root)


async def test_a_loop_of_links_is_refused_by_name(tmp_path: Path) -> None:
    root = tmp_path / "loop"
    root.symlink_to(root)
    with pytest.raises(StorageError) as refusal:
        async with LocalStore(root):
            pass

    assert refusal.value.errno == errno.ELOOP
    assert refusal.value.filename == str(root)


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """Allow so many descriptors beyond those that are open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_store_that_finds_no_descriptor_says_so(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        await store.put(b"x", labels={"a": "b"})
        # Whatever is started for the first call is there now.
        refusals = []
        for more in range(12):
            try:
                with few_descriptors(more):
                    async with LocalStore(tmp_path / "store") as another:
                        assert another.notes() == []
            except StorageError as error:
                refusals.append(error)

    assert {error.errno for error in refusals} == {errno.EMFILE}
    assert all(str(error.filename).startswith(str(tmp_path)) for error in refusals)


async def test_a_path_that_is_not_utf_8_works(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"bad\xff root")
    async with LocalStore(root) as store:
        digest = (await store.put(b"here", labels={"a": "b"})).digest
        assert await store.get(digest) == b"here"
        assert (await store.info(digest)).labels == {"a": "b"}
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"bad\xff root"]  # noqa: ASYNC240
    async with LocalStore(root, read_only=True) as store:
        assert (await store.info(digest)).labels == {"a": "b"}


@pytest.mark.parametrize("name", ["blobs", "ingest"])
async def test_a_part_that_is_mounted_by_itself_is_refused_when_opened(name: str, tmp_path: Path) -> None:
    root = tmp_path / "store"
    async with LocalStore(root):
        pass
    part = str(root / name)
    # The same file system, so only the mount tells: a rename into it is EXDEV.
    found = subprocess.run(["mount", "--bind", part, part], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    if found.returncode:
        pytest.skip(f"needs the right to mount: {found.stderr.strip()}")
    try:
        with pytest.raises(FailedPrecondition, match=f"{name}: in another mount"):
            async with LocalStore(root):
                pass
    finally:
        subprocess.run(["umount", "--lazy", part], check=True)  # noqa: ASYNC221


@pytest.mark.parametrize("name", ["blobs", "ingest"])
async def test_a_part_on_another_file_system_is_refused_when_opened(name: str, tmp_path: Path) -> None:
    root = tmp_path / "store"
    async with LocalStore(root):
        pass
    with mounted("ext4", tmp_path) as point:
        (root / name).rmdir()
        (root / name).mkdir()
        subprocess.run(["mount", "--bind", str(point), str(root / name)], check=True)  # noqa: ASYNC221
        try:
            with pytest.raises(FailedPrecondition, match=f"{name}: on another file system"):
                async with LocalStore(root):
                    pass
        finally:
            subprocess.run(["umount", "--lazy", str(root / name)], check=True)  # noqa: ASYNC221
