"""What an archive costs grows with its bytes, and not with products of what it counts.

``ARCHIVE_ENTRIES=999000`` proves the bound on memory with as many entries as an archive may have.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from archives import pieces
from make_archives import Link, tar
from make_images import encode, named

from steelyard import LocalStore, MemoryStore
from steelyard.images import import_images

ENTRIES = int(os.environ.get("ARCHIVE_ENTRIES", "200000"))
HANG_SECONDS = 30


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


@pytest.mark.anyio
@pytest.mark.parametrize("form", ["file", "stream"])
async def test_links_are_followed_once_however_often_they_are_named(form: str, tmp_path: Path) -> None:
    """Each of 20,000 layers is at the end of 10,000 links: two hundred million steps, if each were followed by itself."""
    links, layers = 10_000, 20_000
    chain: list[tuple[str, bytes | Link]] = [(f"l{number}", Link(f"l{number + 1}")) for number in range(links)]
    config = saved_images(["l0"] * layers, [named(b"layer")["digest"]] * layers, 1)
    data = tar([*chain, (f"l{links}", b"layer"), *config])
    (tmp_path / "a.tar").write_bytes(data)
    async with MemoryStore() as store:
        with anyio.fail_after(HANG_SECONDS):
            found = await import_images(store, tmp_path / "a.tar" if form == "file" else pieces(data))

    assert 1 == len(found.images)


MANY = """
import re, sys, tarfile
from pathlib import Path
import anyio
from make_archives import saved, tar
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


@pytest.mark.parametrize("form", ["file", "stream"])
def test_an_entry_takes_little_memory(form: str, tmp_path: Path) -> None:
    """A million entries are to fit into 150 MiB, all of the process included."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", MANY, form, str(ENTRIES), str(tmp_path / "a.tar")]
    done = subprocess.run(words, capture_output=True, check=True, env=environment, timeout=600)
    before, most = (int(number) << 10 for number in done.stdout.split())
    print(f"{ENTRIES} entries, {form}: {before >> 20} MiB before, {most >> 20} MiB at most")

    assert most - before <= (20 << 20) + 100 * ENTRIES
