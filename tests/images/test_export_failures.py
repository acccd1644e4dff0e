"""Exports that fail, or are cancelled, in the middle: what stays behind, and what a reader sees."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import BrokenResourceError
from anyio.abc import ByteSendStream
from support.make_images import MANIFEST, keep, manifest_of, target_of

from steelyard import DataCorrupt, Digest, LocalStore, MemoryStore, StorageError, Store
from steelyard.errors import IncompleteImage
from steelyard.images import DirectoryLayout, export_images
from steelyard.model import Progress

pytestmark = pytest.mark.anyio

NAME = "docker.io/demo/app:1"
CONFIG = b'{"os":"linux","architecture":"amd64"}'
LAYERS = [os.urandom(3 << 20), os.urandom(5 << 20)]
MANIFEST_BYTES = manifest_of(LAYERS, config=CONFIG)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """Give a store with an image of 8 MiB."""
    async with LocalStore(tmp_path / "store") as store:
        await keep(store, CONFIG, *LAYERS, MANIFEST_BYTES)
        await store.images.create(NAME, target_of(MANIFEST_BYTES, MANIFEST))
        yield store


class Sink(ByteSendStream):
    """Takes so many bytes, and then its reader is gone."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.data = bytearray()
        self._most = most

    async def send(self, item: Any) -> None:
        await anyio.lowlevel.checkpoint()
        if len(self.data) + len(item) > self._most:
            raise BrokenResourceError
        self.data += item

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


def damage(directory: Path, data: bytes) -> Digest:
    """Change one byte of a stored blob."""
    digest = target_of(data).digest
    (path,) = directory.rglob(digest.encoded)
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    return digest


def read_all(path: Path) -> list[bytes]:
    with tarfile.open(path) as archive:
        files = [archive.extractfile(member) for member in archive]
        return [file.read() for file in files if file is not None]


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_a_damaged_blob_leaves_no_file(store: LocalStore, tmp_path: Path) -> None:
    digest = damage(tmp_path / "store", LAYERS[1])
    (tmp_path / "out").mkdir()
    for options in ({}, {"compress": "zstd"}):
        with pytest.raises(DataCorrupt, match=str(digest)):
            await export_images(store, tmp_path / "out" / "a.tar", [NAME], **options)  # type: ignore[arg-type]

    assert set() == names_in(tmp_path / "out")


async def test_a_damaged_blob_breaks_a_stream_before_its_end(store: LocalStore, tmp_path: Path) -> None:
    damage(tmp_path / "store", LAYERS[1])
    sink = Sink()
    with pytest.raises(DataCorrupt):
        await export_images(store, sink, [NAME])
    (tmp_path / "a.tar").write_bytes(sink.data)

    assert len(b"".join(LAYERS)) - (2 << 20) < len(sink.data) < len(b"".join(LAYERS))
    with pytest.raises(tarfile.ReadError):
        read_all(tmp_path / "a.tar")


async def test_a_damaged_blob_gives_a_layout_no_entry_and_a_store_no_name(store: LocalStore, tmp_path: Path) -> None:
    damage(tmp_path / "store", LAYERS[1])
    async with DirectoryLayout(tmp_path / "layout") as layout:
        with pytest.raises(DataCorrupt):
            await export_images(store, layout, [NAME])

        assert () == (await layout.read_index()).view.children
        assert target_of(LAYERS[1]).digest not in await layout.digests()
    async with MemoryStore() as target:
        with pytest.raises(DataCorrupt):
            await export_images(store, target, [NAME])

        assert [] == await target.images.list()


async def test_a_shortened_blob_is_found_without_verifying_too(store: LocalStore, tmp_path: Path) -> None:
    (path,) = (tmp_path / "store").rglob(target_of(LAYERS[0]).digest.encoded)
    path.chmod(0o644)
    path.write_bytes(LAYERS[0][:-1])
    with pytest.raises((DataCorrupt, IncompleteImage), match=str(target_of(LAYERS[0]).digest)):
        await export_images(store, tmp_path / "a.tar", [NAME], verify=False)

    assert not (tmp_path / "a.tar").exists()


async def test_a_cancelled_export_leaves_no_file_at_any_moment(store: LocalStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    moment = 1
    while await export_until(moment, store, out / "a.tar"):
        assert set() == names_in(out)
        moment += 1

    assert moment > 4
    assert {"a.tar"} == names_in(out)


async def export_until(moment: int, store: LocalStore, path: Path) -> bool:
    """Export, and cancel that at the report of that number; return whether it ended for that reason."""
    seen = 0
    with anyio.CancelScope() as scope:

        def hear(_: Progress) -> None:
            nonlocal seen
            seen += 1
            if seen == moment:
                scope.cancel()

        await export_images(store, path, [NAME], on_progress=hear)
    return scope.cancelled_caught


async def test_a_reader_that_is_gone_is_the_error_of_the_stream(store: LocalStore) -> None:
    for options in ({}, {"compress": "gzip"}):
        with pytest.raises(BrokenResourceError):
            await export_images(store, Sink(2 << 20), [NAME], **options)  # type: ignore[arg-type]


async def test_a_place_that_cannot_be_written_is_reported(store: LocalStore, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "a.tar"):
        with pytest.raises(StorageError, match="export"):
            await export_images(store, path, [NAME])


async def test_the_target_may_be_a_link_to_a_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "real.tar").write_bytes(b"old")
    (tmp_path / "link.tar").symlink_to("real.tar")
    await export_images(store, tmp_path / "link.tar", [NAME])

    assert (tmp_path / "link.tar").is_symlink()
    assert tarfile.is_tarfile(tmp_path / "real.tar")


async def test_a_killed_export_leaves_no_file(store: LocalStore, tmp_path: Path) -> None:
    program = f"""
import anyio, os, signal
from steelyard import LocalStore
from steelyard.images import export_images
async def main():
    async with LocalStore({str(tmp_path / "store")!r}) as store:
        def kill(report):
            if report.done > 1 << 20:
                os.kill(os.getpid(), signal.SIGKILL)
        await export_images(store, {str(tmp_path / "out" / "a.tar")!r}, [{NAME!r}], on_progress=kill)
anyio.run(main)
"""
    (tmp_path / "out").mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = await anyio.run_process([sys.executable, "-c", program], env=environment, check=False)

    assert -9 == done.returncode
    assert set() == names_in(tmp_path / "out")
    assert await store.exists(target_of(LAYERS[0]).digest)


async def test_progress_is_reported_of_each_blob_and_of_the_whole(store: LocalStore, tmp_path: Path) -> None:
    reports: list[Progress] = []
    await export_images(store, tmp_path / "a.tar", [NAME], on_progress=reports.append)
    blobs = {str(target_of(data).digest): len(data) for data in (MANIFEST_BYTES, CONFIG, *LAYERS)}
    whole = {str(tmp_path / "a.tar"): sum(blobs.values())}

    assert (0, whole) == (reports[0].done, {reports[0].name: reports[0].total})
    assert blobs | whole == {report.name: report.done for report in reports}
    assert blobs | whole == {report.name: report.total for report in reports}
