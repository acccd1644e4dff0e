"""Fresh file systems in an image file, for rows that create many small files.

What the same files cost differs more between file systems than between programs, and ext4 without a journal passes over the
inodes of files that were deleted lately: a loop that creates files is up to seven times as slow there for minutes. So these
rows run on a fresh ext4 with a journal and on a fresh xfs, where the user may mount one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from anyio import CancelScope

from steelyard_bench._inside import run

__all__ = ("KINDS", "Disk", "DiskError", "bytes_needed", "fresh", "refusal")

KINDS = ("ext4", "xfs")
"""The kinds of file systems."""

_COMMANDS = {
    # Nothing is left for later: the kernel would write tables while rounds are timed. One inode for each block.
    "ext4": ("mkfs.ext4", "-q", "-F", "-i", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
}

_LEAST = 320 << 20
"""The smallest xfs has 300 MiB."""

_FIXED = 256 << 20
"""The journal, and what peers write beside the files."""

_MARGIN = 1.25
_WRITE_BYTES = 8 << 20
_BUSY_SECONDS = 10.0


class DiskError(Exception):
    """A file system cannot be made or mounted here; the text says why."""


@dataclass(frozen=True)
class Disk:
    """Where file systems are made, one after the other.

    Attributes:
        folder: an empty folder for the image file, and for the directory that it is mounted on.
        size: of a file system, in bytes.
    """

    folder: Path
    size: int

    @property
    def image(self) -> Path:
        """The image file."""
        return self.folder / "image"

    @property
    def point(self) -> Path:
        """Where it is mounted."""
        return self.folder / "mounted"


def bytes_needed(content: int) -> int:
    """Return the size of a file system that holds files which take so many bytes."""
    return max(_LEAST, _FIXED + int(content * _MARGIN))


@asynccontextmanager
async def fresh(disk: Disk, kind: str) -> AsyncIterator[Path]:
    """Mount a fresh file system and return where; it is unmounted at the end, also when cancelled.

    Raises:
        DiskError: it cannot be made or mounted here.
    """
    if (reason := await run(refusal, kind)) is not None:
        raise DiskError(reason)
    try:
        try:
            await run(_mount, disk, kind)
        except (OSError, subprocess.CalledProcessError) as error:
            raise DiskError(_said(error)) from error
        yield disk.point
    finally:
        with CancelScope(shield=True):
            await run(_unmount, disk)


def refusal(kind: str) -> str | None:
    """Return why a file system of that kind cannot be made here, or None as far as that can be told before."""
    if os.geteuid() != 0:
        return "only root can mount a file system"
    program = _COMMANDS[kind][0]
    return None if shutil.which(program) else f"{program} is not installed"


def _mount(disk: Disk, kind: str) -> None:
    _fill(disk.image, disk.size)
    _call(*_COMMANDS[kind], str(disk.image))
    disk.point.mkdir(exist_ok=True)
    device = _attach(disk.image)
    try:
        _call("mount", "-t", kind, device, str(disk.point))
    finally:
        # A device that is mounted is detached when it is unmounted.
        _call("losetup", "--detach", device)


def _attach(image: Path) -> str:
    """Return a loop device for an image. With direct I/O its pages are not in memory twice, and a sync has less to write."""
    words = ("losetup", "--find", "--show")
    try:
        return _call(*words, "--direct-io=on", str(image))
    except subprocess.CalledProcessError:
        return _call(*words, str(image))


def _fill(image: Path, size: int) -> None:
    """Write an image once: in a sparse one, rounds would wait for the file system below to find blocks."""
    if image.exists():
        return
    zeros = bytes(_WRITE_BYTES)
    with image.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, size)
        for at in range(0, size, _WRITE_BYTES):
            file.write(zeros[: size - at])
        os.fsync(file.fileno())


def _unmount(disk: Disk) -> None:
    """Unmount what is mounted. A program that has just ended may hold a file for a moment."""
    end = time.monotonic() + _BUSY_SECONDS
    while os.path.ismount(disk.point):
        done = subprocess.run(["umount", str(disk.point)], capture_output=True, check=False, start_new_session=True)
        if done.returncode and time.monotonic() > end:
            _call("umount", "--lazy", str(disk.point))
        elif done.returncode:
            time.sleep(0.05)


def _call(*words: str) -> str:
    # In a session of its own: Ctrl-C ends this run, and not a program that it waits for to tidy up.
    done = subprocess.run(words, capture_output=True, text=True, check=True, start_new_session=True)
    return done.stdout.strip()


def _said(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        words = str(error.stderr).strip().splitlines()
        return f"{error.cmd[0]}: {words[-1] if words else error.returncode}"
    return str(error)
