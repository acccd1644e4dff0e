"""Directories that tests store as trees, and stores for them."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from steelyard import LocalStore, MemoryStore, Store

FILES = {
    "a.txt": b"alpha",
    "a/b/deep": b"deep",
    "a/one": b"1",
    "a/two": b"alpha",
    "run.sh": b"#!/bin/sh\n",
    "empty": b"",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a directory with files, an executable one, links, and an empty directory."""
    return make_source(tmp_path / "source")


def make_source(top: Path) -> Path:
    """Make that directory."""
    for name, data in FILES.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    (top / "run.sh").chmod(0o755)
    (top / "nothing" / "here").mkdir(parents=True)
    (top / "link").symlink_to("a/one")
    (top / "a" / "dangling").symlink_to("../../outside")
    return top


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:  # noqa: ARG001
    """Give a store on the disk, and one in memory."""
    kind: Store = LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore()
    async with kind as opened:
        yield opened


def write_other_name(top: Path) -> None:
    """Write a file whose name is not UTF-8."""
    Path(os.fsdecode(os.fsencode(top) + b"/caf\xe9")).write_bytes(b"1")


def contents(top: Path) -> dict[str, tuple[str, object]]:
    """Return all that is below a directory: its kind, and its bytes, its target or nothing."""
    found: dict[str, tuple[str, object]] = {}
    for folder, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            key = str(path.relative_to(top))
            if stat.S_ISLNK(mode):
                found[key] = ("link", str(path.readlink()))
            elif stat.S_ISDIR(mode):
                found[key] = ("directory", None)
            else:
                found[key] = ("program" if mode & 0o100 else "file", path.read_bytes())
    return found
