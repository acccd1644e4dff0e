"""The cost of an archive grows with its bytes, not with products of its counts.

``ARCHIVE_ENTRIES=999000`` proves the bound on memory with as many entries as an archive may have, and ``ARCHIVE_BLOBS=999000``
with as many blobs; the archive of those takes 1 GiB and the store as much again, in the temporary directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.archives import pieces
from support.make_archives import Link, tar
from support.make_images import encode, named

from steelyard import LocalStore, MemoryStore
from steelyard.images import import_images

ENTRIES = int(os.environ.get("ARCHIVE_ENTRIES", "200000"))
BLOBS = int(os.environ.get("ARCHIVE_BLOBS", "60000"))


def environment() -> dict[str, str]:
    """Return the environment of a process whose memory is measured.

    glibc would give threads arenas of their own, whose free memory would count as more or less for each run.
    """
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_ARENA_MAX": "1"}


def saved_images(layers: list[str], diffs: list[str], images: int, padding: int = 0) -> list[tuple[str, bytes | Link]]:
    """Return the config and the ``manifest.json`` of images that are all alike."""
    value = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": diffs},
        "x": "x" * padding,
    }
    one = {"Config": "c.json", "RepoTags": ["demo:1"], "Layers": layers}
    return [("c.json", encode(value)), ("manifest.json", encode([one] * images))]


def bytes_read() -> int:
    """Return how many bytes this process has read from files."""
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        name, _, count = line.partition(": ")
        if name == "rchar":
            return int(count)
    raise AssertionError


@pytest.mark.anyio
@pytest.mark.parametrize(("layers", "images"), [(400, 1), (1, 400)])
async def test_a_file_is_read_a_few_times_however_often_it_is_named(layers: int, images: int, tmp_path: Path) -> None:
    """A compressed layer is read to learn its digest, and again to be stored."""
    layer = b"\x1f\x8b\x08\0" + bytes(2 << 20)
    config = saved_images(["l.tar.gz"] * layers, [named(b"layer")["digest"]] * layers, images, padding=1 << 20)
    data = tar([("l.tar.gz", layer), *config])
    (tmp_path / "a.tar").write_bytes(data)
    async with LocalStore(tmp_path / "store", durability="process-crash") as store:
        before = bytes_read()
        found = await import_images(store, tmp_path / "a.tar")
        read = bytes_read() - before

    assert 1 == len(found.images)
    assert read <= 4 * len(data)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("form", ["file", "stream"])
async def test_links_are_followed_once_however_often_they_are_named(form: str, tmp_path: Path) -> None:
    """Each of 20,000 layers is at the end of 10,000 links: two hundred million steps, if each were followed by itself.

    `catalogue.rs` has the test that each link is followed once; this one ends late, if it is not so in Python.
    """
    links, layers = 10_000, 20_000
    chain: list[tuple[str, bytes | Link]] = [(f"l{number}", Link(f"l{number + 1}")) for number in range(links)]
    config = saved_images(["l0"] * layers, [named(b"layer")["digest"]] * layers, 1)
    data = tar([*chain, (f"l{links}", b"layer"), *config])
    (tmp_path / "a.tar").write_bytes(data)
    async with MemoryStore() as store:
        found = await import_images(store, tmp_path / "a.tar" if form == "file" else pieces(data))

    assert 1 == len(found.images)


MANY = """
import re, sys, tarfile
from pathlib import Path
import anyio
from support.make_archives import saved, tar
from steelyard import MemoryStore
from steelyard.images import import_images

form, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def headers():
    entry = tarfile.TarInfo("")
    entry.type, entry.linkname = tarfile.SYMTYPE, "l0"
    block = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
    block[148:156] = b" " * 8
    base = sum(block)
    for number in range(count):
        name = b"l%d" % number
        block[: len(name)] = name
        block[148:156] = b"%06o\\0 " % (base + sum(name))
        yield bytes(block)
    yield tar(saved([b"layer"], "demo:1"))


def peak():
    # Not ru_maxrss, which a process inherits from the one that started it.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])


class Source:
    def __init__(self):
        self.headers = headers()

    def __aiter__(self):
        return self

    async def __anext__(self):
        piece = b"".join(block for block, _ in zip(self.headers, range(2000)))
        if not piece:
            raise StopAsyncIteration
        return piece


async def main():
    async with MemoryStore() as store:
        found = await import_images(store, path if form == "file" else Source())
        assert len(found.images) == 1


if form == "file":
    with open(path, "wb") as file:
        file.writelines(headers())
before = peak()
anyio.run(main)
print(before, peak())
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["file", "stream"])
def test_an_entry_takes_little_memory(form: str, tmp_path: Path) -> None:
    """A million entries are to fit into 150 MiB, all of the process included."""
    words = [sys.executable, "-c", MANY, form, str(ENTRIES), str(tmp_path / "a.tar")]
    done = subprocess.run(words, capture_output=True, check=True, env=environment(), timeout=600)
    before, most = (int(number) << 10 for number in done.stdout.split())
    print(f"{ENTRIES} entries, {form}: {before >> 20} MiB before, {most >> 20} MiB at most")

    assert most - before <= (20 << 20) + 100 * ENTRIES


DISTINCT = """
import hashlib, io, re, sys, tarfile
from pathlib import Path
import anyio
from steelyard import LocalStore
from steelyard.images import import_images

form, count, path, store = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
DOCUMENTS = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", b'{"schemaVersion":2,"manifests":[]}')]


def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])


def headers():
    block = bytearray(tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT))
    blobs = ((number, b"%d" % number) for number in range(count))
    named = (("blobs/sha256/" + hashlib.sha256(data).hexdigest(), data) for _, data in blobs)
    for each in (DOCUMENTS, named):
        for name, data in each:
            block[:100] = name.encode().ljust(100, b"\\0")
            block[124:136] = b"%011o\\0" % len(data)
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\\0 " % sum(block)
            yield bytes(block) + data.ljust(512, b"\\0")
    yield bytes(1024)


async def pieces():
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            yield piece


async def main():
    async with LocalStore(store, durability="process-crash") as kept:
        source = pieces() if form == "stream" else path
        found = await import_images(kept, source, only_referenced=form == "skipped")
        assert (len(found.blobs), found.blobs[0].status) == (count, "skipped" if form == "skipped" else "new")


with open(path, "wb") as file:
    file.writelines(headers())
anyio.run(main)
print(peak())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("form", "most"), [("skipped", 165), ("file", 300), ("stream", 300)])
def test_a_blob_takes_little_memory(form: str, most: int, tmp_path: Path) -> None:
    """A million blobs are to fit into 150 MiB, all of the process included, also the pages of its database that a store keeps.

    Of those there are at most 32 MiB, which few blobs do not fill: so a short run bounds closely only what the import itself
    keeps, where it stores nothing.
    """
    peaks = {}
    for count in (BLOBS // 6, BLOBS):
        words = [sys.executable, "-c", DISTINCT, form, str(count), str(tmp_path / "a.tar"), str(tmp_path / f"s{count}")]
        done = subprocess.run(words, capture_output=True, check=True, env=environment(), timeout=1200)
        peaks[count] = int(done.stdout) << 10
    few, many = peaks.values()
    print(f"{BLOBS} blobs, {form}: {few >> 10} KiB for a sixth of them, {many >> 10} KiB for all")

    assert many <= 150 << 20
    assert many - few <= most * (BLOBS - BLOBS // 6)
