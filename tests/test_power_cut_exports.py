"""Exports and image layouts after a power cut: a copy of a mounted disk at the moment when the call returns."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from disks import KINDS, mounted

from steelyard.images.layout import _files

DATA = b"exported" * 10_000


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_new_file_survives_a_power_cut(kind: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with mounted(kind, tmp_path) as point:
        _files.make_root(str(point / "layout")).close()
        root = _files.make_root(str(point / "layout"))
        for name in ("new", "replaced", "replaced"):
            _files.replace_file(root.fileno(), "layout", name, name.encode() + DATA)
        subprocess.run(["cp", "--sparse=always", str(tmp_path / f"{kind}.image"), str(copy)], check=True)
        root.close()

    if kind.startswith("ext4"):
        checked = subprocess.run(["e2fsck", "-f", "-y", str(copy)], capture_output=True, text=True, check=False)
        assert checked.returncode in {0, 1}, checked.stdout
    after = tmp_path / "after"
    after.mkdir()
    subprocess.run(["mount", "-o", "loop", str(copy), str(after)], check=True)
    try:
        layout = after / "layout"
        assert {path.name: path.read_bytes() for path in layout.iterdir()} == {
            name: name.encode() + DATA for name in ("new", "replaced")
        }
        assert {(path.stat().st_mode & 0o7777, path.stat().st_nlink) for path in layout.iterdir()} == {(0o644, 1)}
    finally:
        subprocess.run(["umount", "--lazy", str(after)], check=True)
