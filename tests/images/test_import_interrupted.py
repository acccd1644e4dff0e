"""Imports that end early, and those that go on: killed, cancelled, side by side; and the memory that they take."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from support.make_archives import layout, one_image, tar
from support.make_images import named

from steelyard import LocalStore, MemoryStore, NotFound, Progress
from steelyard.images import check, import_images

SMALL = [random.Random(f"small {number}").randbytes(100) for number in range(300)]
NAME = "docker.io/library/demo:1"


@functools.cache
def layers() -> list[bytes]:
    """Return large layers; they are made when a test runs, not when it is collected."""
    return [random.Random(number).randbytes(24 << 20) for number in range(2)]


IMPORT = """
import os, signal, sys, anyio
from steelyard import LocalStore
from steelyard.images import import_images

def on_progress(report):
    if report.phase == "write" and report.done > 4 << 20:
        os.kill(os.getpid(), signal.SIGKILL)

async def main(store, source):
    async with LocalStore(store) as store:
        await import_images(store, source, on_progress=on_progress, concurrency=1)

anyio.run(main, *sys.argv[1:])
"""

MEASURE = """
import os, sys, anyio, hashlib, tarfile, io, json
from steelyard import LocalStore
from steelyard.images import import_images

BYTES = 192 << 20
PIECE = bytes(range(256)) * 4096

def header(name, size):
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.USTAR_FORMAT)

def padded(data):
    return data + bytes(-len(data) % 512)

def descriptor(kind, digest, size):
    return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": size}

def blob(data):
    return "blobs/sha256/" + hashlib.sha256(data).hexdigest()

async def source():
    hasher = hashlib.sha256()
    for _ in range(BYTES // len(PIECE)):
        hasher.update(PIECE)
    layer = hasher.hexdigest()
    config = b'{"os":"linux","architecture":"amd64"}'
    value = {"schemaVersion": 2, "config": descriptor("config.v1+json", blob(config)[13:], len(config)),
             "layers": [descriptor("layer.v1.tar", layer, BYTES)]}
    manifest = json.dumps(value).encode()
    root = descriptor("manifest.v1+json", blob(manifest)[13:], len(manifest))
    index = json.dumps({"schemaVersion": 2, "manifests": [root]}).encode()
    layout = b'{"imageLayoutVersion":"1.0.0"}'
    for name, data in ((blob(config), config), (blob(manifest), manifest), ("index.json", index), ("oci-layout", layout)):
        yield header(name, len(data)) + padded(data)
    yield header("blobs/sha256/" + layer, BYTES)
    for _ in range(BYTES // len(PIECE)):
        yield PIECE
    yield bytes(1024)

def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) << 10

async def main(root):
    async with LocalStore(root) as store:
        await store.put(b"warm")
        idle = peak()
        found = await import_images(store, source(), name="demo:1")
        assert found.new_bytes > BYTES
    print(peak() - idle)

anyio.run(main, sys.argv[1])
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an archive of an image with two large layers and many small ones. Look, don't touch."""
    index, _, blobs = one_image([*SMALL, *layers()], org_opencontainers_image_ref_name="demo:1")
    path = tmp_path_factory.mktemp("archive") / "archive.tar"
    path.write_bytes(tar(layout(index, blobs)))
    return path


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | more


def killed_import(store: Path, archive: Path) -> None:
    """Begin an import in another process, which kills itself in the middle of a layer."""
    ended = subprocess.run([sys.executable, "-c", IMPORT, str(store), str(archive)], env=environment(), check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_kill_in_the_middle_leaves_what_a_repeat_finishes(archive: Path, tmp_path: Path) -> None:
    killed_import(tmp_path / "store", archive)
    async with LocalStore(tmp_path / "store") as store:
        assert [] == await store.images.list()
        left = [status.ref for status in await store.list_statuses()]

        found = await import_images(store, archive)

        assert set(left) <= {f"import-{named(layer)['digest']}" for layer in layers()}
        assert [] == await store.list_statuses()
        assert (await check(store, NAME)).complete
        assert 256 <= sum(each.status == "present" for each in found.blobs)  # a whole batch
        for layer in layers():
            assert layer == await store.get(named(layer)["digest"])


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_cancelled_import_names_nothing_and_goes_on(archive: Path, tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        with anyio.CancelScope() as scope:

            def stop(report: Progress) -> None:
                if report.phase == "write" and report.done > 4 << 20:
                    scope.cancel()

            await import_images(store, archive, on_progress=stop, concurrency=1)
        assert scope.cancelled_caught
        assert [] == await store.images.list()
        kept = {status.ref: status.offset for status in await store.list_statuses()}
        assert all(offset > 0 for offset in kept.values())
        resumed: dict[str, int] = {}

        def note(report: Progress) -> None:
            if report.phase == "write":
                resumed.setdefault(f"import-{report.name}", report.done)

        await import_images(store, archive, on_progress=note)

        assert kept.items() <= resumed.items()
        assert (await check(store, NAME)).complete


@pytest.mark.anyio
async def test_two_imports_at_once_end_both(archive: Path, tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(import_images, store, archive)
    async with LocalStore(tmp_path / "store") as store:
        assert (await check(store, NAME)).complete
        assert [] == await store.list_statuses()


@pytest.mark.anyio
async def test_an_error_of_the_source_is_raised_unchanged() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield tar(layout(*one_image([b"x"])[::2]))[:700]
        raise ConnectionResetError

    store = MemoryStore()
    with pytest.raises(ConnectionResetError):
        await import_images(store, source())
    with pytest.raises(NotFound):
        await store.images.get(NAME)


@pytest.mark.slow
def test_memory_does_not_grow_with_a_stream(tmp_path: Path) -> None:
    # glibc would give threads arenas of their own, and their free memory would count as more or less for each run.
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "store")],
        env=environment(MALLOC_ARENA_MAX="1"),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 128 << 20
