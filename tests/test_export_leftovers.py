"""What a killed export leaves in its directory goes with the next one there; what another export still writes stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
