"""The file systems: made in a file, mounted over the logged file, and mounted again after a cut."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from powercut.logged_disk import Operation

__all__ = ("KINDS", "logged", "lost_blocks", "make", "mounted", "needs_whole", "run")

MIB = 1 << 20
_HANG_SECONDS = 60

KINDS = {
    "ext4": (64, ["mkfs.ext4", "-q", "-F", "-b", "4096"]),
    "ext4-no-journal": (64, ["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^has_journal"]),
    "xfs": (310, ["mkfs.xfs", "-q", "-f"]),
    "btrfs": (130, ["mkfs.btrfs", "-q", "-f"]),
}
"""Name: size in MiB, and the command that makes it."""

_SUPERBLOCKS = {"ext4": [(0, 4096)], "xfs": [], "btrfs": [(64 << 10, 4096), (64 << 20, 4096)]}
_LOST_BLOCKS = (
    "directory corrupted",
    "Missing '.' in directory",
    "end of extent exceeds allowed value",
    "bad block number",  # the index of a directory names a block behind the directory's end
    "invalid extent node",
    "Delete file? yes",  # one of two files that claim the same block, if that block holds extents
)
_CLONED = "Clone multiply-claimed blocks? yes"
_AGAIN = "Restarting e2fsck from the beginning"
_EXT4_DIRECTORY_TAIL = bytes([0, 0, 0, 0, 12, 0, 0, 0xDE])


def make(kind: str, image: Path) -> None:
    """Make a file system of that kind in a file."""
    size, command = KINDS[kind]
    with image.open("wb") as file:
        file.truncate(size * MIB)
    run(*command, str(image))


@contextmanager
def mounted(kind: str, image: Path, point: Path) -> Iterator[str]:
    """Mount an image, after the check that its file system needs after a power cut; give what the check printed."""
    checked = ""
    if kind == "ext4-no-journal":
        checked = run("e2fsck", "-f", "-y", str(image), codes=(0, 1))
    point.mkdir(exist_ok=True)
    run("mount", "-o", "loop", str(image), str(point))
    try:
        yield checked
    finally:
        run("umount", str(point))


@contextmanager
def logged(image: Path, file: Path, log: Path, position: Path) -> Iterator[None]:
    """Serve `file` with the bytes of an image, and log what is done to it."""
    for path, data in ((file, b""), (log, b""), (position, bytes(8))):
        path.write_bytes(data)
    command = [sys.executable, str(Path(__file__).with_name("logged_disk.py")), *map(str, (file, image, log, position))]
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + _HANG_SECONDS
        while not file.stat().st_size:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the logged disk was not mounted")
            time.sleep(0.01)
        yield
        run("umount", str(file))
        process.wait(_HANG_SECONDS)
    finally:
        process.kill()
        process.wait()


def needs_whole(kind: str) -> Callable[[Operation], bool]:
    """Return what tells the writes that this kind of file system needs to be done whole or not at all."""
    blocks = _SUPERBLOCKS[kind.partition("-")[0]]

    def whole(operation: Operation) -> bool:
        start, end = operation.offset, operation.offset + operation.size
        if any(start < offset + size and offset < end for offset, size in blocks):
            return True
        # Without a journal, a directory block that is half old and half new loses names that were there before.
        return kind == "ext4-no-journal" and _EXT4_DIRECTORY_TAIL in (
            bytes(operation.data[at - 12 : at - 4]) for at in range(4096, operation.size + 1, 4096)
        )

    return whole


def lost_blocks(checked: str) -> bool:
    """Tell by what `e2fsck` printed whether it dropped or overwrote blocks of a directory or file that were in use.

    Without a journal, ext4 writes the parts of what grows (blocks, extents, size) at any time and in any order. After a cut between
    them the check drops blocks, also those of names and bytes that were synced long before. It also copies a block that two files
    claim, to one that seems free; before it begins again, it has not seen those of files that the count of used inodes left out.
    """
    seen, begins_again, _ = checked.partition(_AGAIN)
    return any(text in checked for text in _LOST_BLOCKS) or (bool(begins_again) and _CLONED in seen)


def run(*command: str, codes: tuple[int, ...] = (0,)) -> str:
    """Run a program to its end, and return what it printed."""
    # e2fsck prints names as they are on a damaged disk.
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace", env=environment)
    if done.returncode not in codes:
        raise RuntimeError(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout
