"""The open descriptors of this process."""

from __future__ import annotations

from pathlib import Path


def open_files(root: Path) -> list[str]:
    """Return the files under `root` that this process has open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if target.startswith(str(root)):
            found.append(target)
    return sorted(found)
