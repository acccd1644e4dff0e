"""Exports and image layouts after a power cut: a copy of a mounted disk at the moment when the call returns.

``STEELYARD_POWER_CUTS=60`` cuts so often on each file system; ``STEELYARD_SEED`` chooses what is written before.
"""

from __future__ import annotations

import os
import random
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from support.disks import KINDS, mounted

from steelyard.images import DirectoryLayout
from steelyard.images.exporting._file import new_file
from steelyard.images.layout import _files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = b"exported" * 10_000
CUTS = int(os.environ.get("STEELYARD_POWER_CUTS", "1"))
SEED = int(os.environ.get("STEELYARD_SEED", "1"))

Files = dict[str, bytes]


def test_a_new_file_of_a_layout_survives_a_power_cut(kind: str, tmp_path: Path) -> None:
    def write(point: Path, _: random.Random) -> Files:
        with closing(_files.make_root(str(point / "layout"))) as root:
            for name in ("new", "replaced", "replaced"):
                _files.replace_file(root.fileno(), "layout", name, name.encode() + DATA)
        return {f"layout/{name}": name.encode() + DATA for name in ("new", "replaced")}

    assert cuts(kind, tmp_path, write, 0o644) == []


def test_a_blob_of_a_layout_survives_a_power_cut(kind: str, tmp_path: Path) -> None:
    async def export(point: Path, chance: random.Random) -> Files:
        written = {}
        async with DirectoryLayout(point / "layout") as layout:
            for _ in range(chance.randint(1, 6)):
                data = chance.randbytes(chance.choice([10, 5_000, 300_000]))
                async with layout.blob_writer() as writer:
                    await writer.write(data)
                    digest = await writer.commit()
                written[f"layout/blobs/sha256/{digest.encoded}"] = data
        return written

    assert cuts(kind, tmp_path, lambda *given: anyio.run(export, *given), 0o444) == []


def test_an_export_to_a_file_survives_a_power_cut(kind: str, tmp_path: Path) -> None:
    async def export(point: Path, chance: random.Random) -> Files:
        written = {}
        for _ in range(chance.randint(1, 6)):
            name, data = f"archive-{chance.randint(0, 3)}", chance.randbytes(chance.choice([10, 5_000, 300_000]))
            async with new_file(str(point / name)) as file:
                file.write(data)
            written[name] = data
        return written

    assert cuts(kind, tmp_path, lambda *given: anyio.run(export, *given), 0o666 & ~mask()) == []


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def cuts(kind: str, directory: Path, write: Callable[[Path, random.Random], Files], mode: int) -> list[str]:
    """Cut the power after each of some runs; return what was lost or changed, a line each."""
    lost = []
    for number in range(CUTS):
        chance = random.Random(f"{SEED} {number}")
        copy = directory / f"copy-{number}"
        with mounted(kind, directory) as point:
            written = write(point, chance)
            subprocess.run(["cp", "--sparse=always", str(directory / f"{kind}.image"), str(copy)], check=True)
        (directory / kind).rmdir()
        with after_cut(kind, copy) as point:
            for name, data in written.items():
                path = point / name
                if not path.exists() or path.read_bytes() != data:
                    lost.append(f"cut {number}: {name} is lost")
                elif (path.stat().st_mode & 0o7777, path.stat().st_nlink) != (mode, 1):
                    lost.append(f"cut {number}: {name} has {path.stat()}")
            lost += [f"cut {number}: {path} is left over" for path in point.rglob(".steelyard-*")]
        copy.unlink()
    return lost


@contextmanager
def after_cut(kind: str, copy: Path) -> Iterator[Path]:
    if kind.startswith("ext4"):
        checked = subprocess.run(["e2fsck", "-f", "-y", str(copy)], capture_output=True, text=True, check=False)
        assert checked.returncode in {0, 1}, checked.stdout
    after = copy.with_name(f"{copy.name}-mounted")
    after.mkdir()
    subprocess.run(["mount", "-o", "loop", str(copy), str(after)], check=True)
    try:
        yield after
    finally:
        subprocess.run(["umount", str(after)], check=True)


def mask() -> int:
    """Return the process's mask of permission bits."""
    old = os.umask(0o22)
    os.umask(old)
    return old
