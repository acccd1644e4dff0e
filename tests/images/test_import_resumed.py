"""Imports in one pass that end in the middle of a layer: the next one reads and compares what is stored, and writes the rest."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from support.make_archives import Link, layout, one_image, saved, tar
from support.make_images import named

from steelyard import FailedPrecondition, LocalStore, MemoryStore, Progress, Store
from steelyard.images import check, import_images

LAYER = random.Random("layer").randbytes(9 << 20)
DIGEST = named(LAYER)["digest"]
NAME = "docker.io/library/demo:1"
MIB = 1 << 20

IMPORT = """
import os, sys, anyio
from steelyard import LocalStore
from steelyard.images import import_images

def on_progress(report):
    if report.phase == "write" and report.done > 150 << 20:
        os.write(1, b"x")

async def pieces(path):
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            yield piece

async def main(store, source):
    async with LocalStore(store) as store:
        await import_images(store, pieces(source), on_progress=on_progress)

anyio.run(main, *sys.argv[1:])
"""

OCI = tar(layout(*one_image([LAYER], org_opencontainers_image_ref_name="demo:1")[::2]))
DOCKER = tar(saved([LAYER], "demo:1"))


async def pieces(data: bytes, *, until: int | None = None) -> AsyncGenerator[bytes, None]:
    """Give the archive; with `until` break off there."""
    for start in range(0, len(data), 100_000):
        if until is not None and start >= until:
            raise ConnectionResetError
        yield data[start : start + 100_000]


class Writes:
    """The reports of a layer: the offsets at which writing began and ended."""

    def __init__(self) -> None:
        self.first: int | None = None

    def hear(self, report: Progress) -> None:
        if report.phase == "write" and self.first is None:
            self.first = report.done


async def broken_off(store: Store, data: bytes, until: int) -> None:
    with pytest.raises(ConnectionResetError):
        await import_images(store, pieces(data, until=until))


def killed_import(store: Path, archive: Path) -> None:
    """Begin an import in another process, and kill that in the middle of the layer."""
    words = [sys.executable, "-c", IMPORT, str(store), str(archive)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        child.send_signal(signal.SIGKILL)


def old_docker() -> bytes:
    """Return an archive of `docker save` as it was before its layers were named by their digests."""
    layer, identity = f"{DIGEST.partition(':')[2]}.tar", "a" * 64
    entries: list[tuple[str, bytes | Link]] = []
    for name, data in saved([LAYER], "demo:1"):
        if isinstance(data, bytes) and not name.startswith("layer0"):
            entries.append(
                (f"{identity}/layer.tar" if name == layer else name, data.replace(b"layer0", identity.encode()))
            )
    return tar(entries)


@pytest.fixture(params=["oci", "docker", "old docker", "gzip"])
def archive(request: pytest.FixtureRequest) -> bytes:
    """Give an archive in each of its forms."""
    forms = {"oci": OCI, "docker": DOCKER, "old docker": old_docker(), "gzip": gzip.compress(OCI, 1)}
    return forms[request.param]


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_next_import_writes_only_the_rest_of_a_layer(archive: bytes, tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        await broken_off(store, archive, 5 * MIB)
        (kept,) = await store.list_statuses()
        assert [] == await store.images.list()
        writes = Writes()

        await import_images(store, pieces(archive), on_progress=writes.hear)

        assert kept.offset > 3 * MIB
        assert [] == await store.list_statuses()
        assert (await check(store, NAME)).complete
        assert await store.get(DIGEST) == LAYER
        assert writes.first == kept.offset


@pytest.mark.anyio
async def test_other_bytes_of_an_earlier_import_are_dropped_and_reported() -> None:
    """A stream cannot go back to its start, so that one import is needed to find out, and a second one to store."""
    store = MemoryStore()
    async with store.writer(f"import-{DIGEST}") as writer:
        await writer.write(b"others" * MIB)

    async with aclosing(pieces(OCI)) as source:
        with pytest.raises(FailedPrecondition, match="import again"):
            await import_images(store, source)
    assert [] == await store.list_statuses()
    await import_images(store, pieces(OCI))
    assert (await check(store, NAME)).complete


@pytest.mark.anyio
async def test_a_file_goes_on_with_what_a_stream_left(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(OCI)
    async with LocalStore(tmp_path / "store") as store:
        await broken_off(store, OCI, 5 * MIB)
        (kept,) = await store.list_statuses()
        writes = Writes()

        await import_images(store, tmp_path / "a.tar", on_progress=writes.hear)

        assert writes.first == kept.offset > 3 * MIB
        assert (await check(store, NAME)).complete


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_kill_in_the_middle_of_a_stream_leaves_what_a_repeat_finishes(tmp_path: Path) -> None:
    """Every 64 MiB are made durable beside the writes, the first at the latest when the second are to be."""
    layer = random.Random("killed").randbytes(200 * MIB)
    data = tar(layout(*one_image([layer], org_opencontainers_image_ref_name="demo:1")[::2]))
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    killed_import(tmp_path / "store", path)
    async with LocalStore(tmp_path / "store") as store:
        assert [] == await store.images.list()
        writes = Writes()

        await import_images(store, pieces(data), on_progress=writes.hear)

        assert writes.first is not None
        assert writes.first >= 64 * MIB
        assert (await check(store, NAME)).complete
        assert [] == await store.list_statuses()
        assert await store.get(named(layer)["digest"]) == layer
