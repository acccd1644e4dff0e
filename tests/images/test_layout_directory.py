"""A layout in a directory: other processes, strangers' files, crashes and other programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from support.make_images import LAYER, MANIFEST, keep_two_platforms, manifest_of, root_of

from steelyard import DataCorrupt, FailedPrecondition, MemoryStore, NotFound, SteelyardError, StorageError, copy
from steelyard.errors import LimitExceeded
from steelyard.images import Limits
from steelyard.images.layout import DirectoryLayout, _files

pytestmark = pytest.mark.anyio


async def test_a_directory_holds_the_layouts_files_and_nothing_else(tmp_path: Path) -> None:
    async with DirectoryLayout(tmp_path / "layout") as layout:
        await layout.init()
        blob = await layout.write_blob(b"layer", LAYER)
        await layout.put_descriptor(blob, name="it")

        assert [blob.blob] == await layout.digests()
    files = sorted(str(path.relative_to(layout.path)) for path in layout.path.rglob("*") if path.is_file())
    assert [f"blobs/sha256/{blob.blob.encoded}", "index.json", "oci-layout"] == files
    assert 0o444 == (layout.path / files[0]).stat().st_mode & 0o777
    assert 0o644 == (layout.path / "index.json").stat().st_mode & 0o777
    with pytest.raises(FailedPrecondition):
        await layout.read_index()


async def test_editors_in_several_processes_lose_no_entry(tmp_path: Path) -> None:
    program = """
import sys, anyio
from steelyard.images import OCIDescriptor
from steelyard.images.layout import DirectoryLayout
async def main():
    async with DirectoryLayout(sys.argv[1]) as layout:
        async def put(number):
            name = f"{sys.argv[2]}-{number}"
            descriptor = OCIDescriptor(media_type="text/plain", digest="sha256:" + "0" * 64, size=0)
            await layout.put_descriptor(descriptor, name=name)
        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(put, number)
anyio.run(main)
"""
    async with DirectoryLayout(tmp_path) as layout:
        await layout.init()
        async with anyio.create_task_group() as tasks:
            for name in ("a", "b"):
                tasks.start_soon(anyio.run_process, [sys.executable, "-c", program, str(tmp_path), name])

        assert 24 == len((await layout.read_index()).view.children)


async def test_an_editor_that_waits_can_be_cancelled(tmp_path: Path) -> None:
    async with DirectoryLayout(tmp_path) as layout, DirectoryLayout(tmp_path) as other:
        await layout.init()
        async with other._edit():
            with anyio.move_on_after(0.05) as scope:
                await layout.put_descriptor(root_of(b"1"), name="a")
            assert scope.cancelled_caught
        await layout.put_descriptor(root_of(b"1"), name="b")

        assert 1 == len((await layout.read_index()).view.children)


async def test_no_link_of_a_strangers_layout_is_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b'{"schemaVersion":2,"manifests":[]}')
    digest = root_of(secret.read_bytes()).blob
    root = tmp_path / "layout"
    (root / "blobs" / "sha256").mkdir(parents=True)
    (root / "index.json").symlink_to(secret)
    (root / "blobs" / "sha256" / digest.encoded).symlink_to(secret)
    (root / "blobs" / "sha512").symlink_to(tmp_path)
    os.mkfifo(root / "blobs" / "sha256" / ("1" * 64))
    (root / "blobs" / "sha256" / ("2" * 64)).mkdir()
    async with DirectoryLayout(root) as layout:
        with pytest.raises(DataCorrupt):
            await layout.read_index()
        for name in (digest, "sha256:" + "1" * 64, "sha256:" + "2" * 64, "sha512:" + "1" * 128):
            with pytest.raises(DataCorrupt):
                await layout.reader_at(name)
        with pytest.raises(StorageError):
            await layout.digests()
        with pytest.raises(SteelyardError):
            await layout.blob_writer(algorithm="sha512")  # type: ignore[arg-type]  # its text will do


async def test_an_index_over_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "index.json").open("wb") as file:
        file.truncate(1 << 40)
    async with DirectoryLayout(tmp_path) as layout:
        with pytest.raises(LimitExceeded):
            await layout.read_index()
        layout.limits = Limits(json_bytes=100)
        with pytest.raises(LimitExceeded):
            await layout.read_index()


async def test_a_damaged_blob_is_found_and_healed(tmp_path: Path) -> None:
    async with DirectoryLayout(tmp_path) as layout:
        blob = await layout.write_blob(b"layer", LAYER)
        path = tmp_path / "blobs" / "sha256" / blob.blob.encoded
        path.chmod(0o644)
        path.write_bytes(b"lAyer")
        async with layout.reader_at(blob.blob) as reader, reader.stream() as stream:
            assert b"lAyer" == await stream.receive()
            with pytest.raises(DataCorrupt):
                await stream.receive()
        await layout.write_blob(b"layer", LAYER)

        assert b"layer" == path.read_bytes()


async def test_a_file_system_without_unnamed_files_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "_UNNAMED", 0)
    async with DirectoryLayout(tmp_path) as layout:
        await layout.init()
        blob = await layout.write_blob(b"layer", LAYER)
        async with layout.blob_writer() as writer:
            await writer.write(b"half")

        assert [blob.blob] == await layout.digests()
    assert {"oci-layout", "index.json", "blobs"} == set(os.listdir(tmp_path))  # noqa: PTH208
    assert [blob.blob.encoded] == os.listdir(tmp_path / "blobs" / "sha256")  # noqa: PTH208


async def test_what_cannot_be_a_layout_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "no" / "parent"):
        with pytest.raises(StorageError):
            await DirectoryLayout(path).__aenter__()
    async with DirectoryLayout(tmp_path / "empty") as layout:
        assert [] == await layout.digests()
        with pytest.raises(NotFound):
            await layout.put_descriptor(root_of(b"1"))


async def test_a_store_copies_from_a_layout(tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = manifest_of([b"1"])
    async with DirectoryLayout(tmp_path) as layout:
        blob = await layout.write_blob(manifest, MANIFEST)
        await copy(layout, blob.blob, store)

    assert manifest == await store.get(blob.digest)


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
async def test_skopeo_reads_what_was_written(tmp_path: Path) -> None:
    store = MemoryStore()
    index, blobs = await keep_two_platforms(store)
    async with DirectoryLayout(tmp_path) as layout:
        await layout.init()
        for data in blobs:
            await layout.write_blob(data, LAYER)
        descriptor = root_of(index)
        await layout.put_descriptor(descriptor, name="demo")
    command = ["skopeo", "inspect", "--raw", f"oci:{tmp_path}:demo"]
    done = await anyio.run_process(command, stderr=subprocess.PIPE)

    assert index == done.stdout
