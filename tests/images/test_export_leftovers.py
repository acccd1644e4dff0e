"""The next export to a directory removes the files of killed exports there, and leaves those of exports that still run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steelyard.images import DirectoryLayout
from steelyard.images.exporting._file import new_file
from steelyard.images.layout import _files

pytestmark = pytest.mark.anyio

KILLED = """
import os, signal, sys
from steelyard.images.layout import _files
_files._UNNAMED = 0  # as on a file system that has no files without names
directory = os.open(sys.argv[1], os.O_RDONLY)
file = _files.NewFile(directory, "archive")
file.write(b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def test_the_next_export_removes_what_a_killed_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)  # noqa: ASYNC221
    left = contents(tmp_path)
    assert len(left) == 1
    monkeypatch.setattr(_files, "_UNNAMED", 0)
    directory = os.open(tmp_path, os.O_RDONLY)
    beside = _files.NewFile(directory, "beside")
    try:
        async with new_file(str(tmp_path / "archive")) as file:
            file.write(b"whole")

        assert left.keys().isdisjoint(contents(tmp_path))
        assert len(contents(tmp_path)) == 2, "the archive, and the file that is still written"

        beside.publish("beside")
    finally:
        beside.close()
        os.close(directory)

    assert contents(tmp_path) == {"archive": b"whole", "beside": b""}


STEPS = """
import os, signal, sys
import anyio
from steelyard.images import DirectoryLayout
from steelyard.images.layout import _files

_files._UNNAMED = 0  # as on a file system that has no files without names
left = -1

class Calls:
    \"""The system calls, before one of which the process is killed.\"""

    def __getattr__(self, name):
        global left
        if name in {"pwrite", "fchmod", "fsync", "replace"}:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return getattr(os, name)

async def export(path):
    async with DirectoryLayout(path) as layout:
        async with layout.blob_writer() as writer:
            _files.os = Calls()
            await writer.write(b"blob")
            await writer.commit()

for step in range(1, 100):
    child = os.fork()
    if not child:
        left = step
        anyio.run(export, f"{sys.argv[1]}/{step}")
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.mark.slow
async def test_a_layout_is_rid_of_what_killed_exports_left_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", STEPS, str(tmp_path)], check=True)  # noqa: ASYNC221
    monkeypatch.setattr(_files, "_UNNAMED", 0)
    swept = 0
    for path in sorted(tmp_path.iterdir()):  # noqa: ASYNC240
        swept += len(provisional(path))
        async with DirectoryLayout(path) as layout, layout.blob_writer() as beside:
            await beside.write(b"beside")
            async with DirectoryLayout(path):  # another export, which must leave alone what is still written
                assert len(provisional(path)) == 1
            committed = await beside.commit()
            assert committed.encoded == hashlib.sha256(b"beside").hexdigest()
            assert committed in await layout.digests()
        assert provisional(path) == []

    assert swept >= 4, "killed with the file empty, written, with its mode, and synced"


def provisional(layout: Path) -> list[Path]:
    return list(layout.rglob(".steelyard-*"))


def test_a_file_that_a_sweep_is_about_to_remove_is_made_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_files, "_UNNAMED", 0)
    names = iter([".steelyard-0000000000000000", ".steelyard-1111111111111111"])
    monkeypatch.setattr(_files, "fresh_name", lambda: next(names))
    hold = _files._hold
    sweeping: list[int] = []

    def sweep_first(number: int) -> bool:
        if not sweeping:
            sweeping.append(os.open(tmp_path / ".steelyard-0000000000000000", os.O_RDONLY))
            fcntl.flock(sweeping[0], fcntl.LOCK_SH)
        return hold(number)

    monkeypatch.setattr(_files, "_hold", sweep_first)
    with _files.closing_fd(os.open(tmp_path, os.O_RDONLY)) as directory:
        file = _files.NewFile(directory, "file")
        (tmp_path / ".steelyard-0000000000000000").unlink()
        os.close(sweeping[0])
        file.write(b"whole")
        file.publish("file")
        file.close()

    assert contents(tmp_path) == {"file": b"whole"}
