"""Where the rounds write: fresh places, nothing deleted before the end, and nothing left after it."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import CancelScope

from steelyard_bench._inside import run

__all__ = (
    "LARGE",
    "SMALL_FILE_SPACE",
    "Ground",
    "check_space",
    "cut_large_files",
    "leftovers",
    "open_ground",
    "settle",
)

PREFIX = "steelyard-bench-"
"""How the names of the folders begin; one that is still there belongs to a run under way, or to one that was killed."""

LARGE = 64 << 10
"""Files above this give their blocks back right after their round; see `Ground.spent`."""

SMALL_FILE_SPACE = 5 << 10
"""Disk space for a small file: a block, its names and its part of a directory."""

_MARGIN = 1.1


_libc = ctypes.CDLL(None)
"""For syncfs, which the os module does not have; os.sync would wait for other disks too."""


class Ground:
    """A folder for the rounds of one run.

    Files are not deleted between rounds: after many deletions, ext4 without a journal makes files five to thirty times
    as slowly for minutes, and a later round would measure that.

    Args:
        folder: an empty folder.
        filesystem: the kind of the file system, if it is a fresh one.
    """

    def __init__(self, folder: Path, filesystem: str | None = None) -> None:
        self.folder = folder
        self.filesystem = filesystem
        self._count = 0

    async def fresh(self, name: str) -> Path:
        """Make a new, empty folder."""
        self._count += 1
        place = self.folder / f"{self._count:05}-{name}"
        await run(place.mkdir)
        return place

    async def spent(self, place: Path) -> None:
        """Let go of what a round wrote.

        Large files are cut to nothing, but stay: the space is needed, and their pages in memory are better used again
        than requested again from the host of a virtual machine, which makes the same write up to ten times as slow.
        """
        await run(cut_large_files, place)


@asynccontextmanager
async def open_ground(directory: Path, filesystem: str | None = None) -> AsyncIterator[Ground]:
    """Make a folder for a run in `directory`, and remove it with all that is in it at the end, also when cancelled."""
    folder = Path(await run(_make_folder, directory))
    try:
        yield Ground(folder, filesystem)
    finally:
        with CancelScope(shield=True):
            await run(_remove, folder)


def check_space(directory: Path, *, large: int, small: int) -> None:
    """See that a disk has room.

    Args:
        directory: where the run is to write.
        large: bytes of large files at any one time.
        small: small files in all.

    Raises:
        OSError: ENOSPC, with what is needed and what is there.
    """
    needed = int((large + small * SMALL_FILE_SPACE) * _MARGIN)
    disk = os.statvfs(directory)
    free = disk.f_frsize * disk.f_bavail
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"the rounds need {needed >> 20} MiB, {free >> 20} MiB are free", os.fspath(directory)
        )
    if disk.f_files and disk.f_favail < small * 2:
        raise OSError(
            errno.ENOSPC, f"the rounds need {small * 2} inodes, {disk.f_favail} are free", os.fspath(directory)
        )


def cut_large_files(place: Path) -> None:
    """Cut the large files below a folder to nothing."""
    for folder, _, names in os.walk(place):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - many files
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) and found.st_size > LARGE:
                os.chmod(path, stat.S_IMODE(found.st_mode) | stat.S_IWUSR)  # noqa: PTH101
                os.truncate(path, 0)


def settle(place: Path, size: int) -> None:
    """Flush what others wrote to the same disk, and have the machine hold so much free memory.

    A hypervisor takes free memory back, and gives it again at a price that would be in the number: the same write of
    1 GiB then takes up to ten times as long.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _libc.syncfs(descriptor)
    finally:
        os.close(descriptor)
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    with mmap.mmap(-1, max(1, min(size, free // 2)), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE):
        pass


def leftovers(directory: Path) -> list[str]:
    """Return the commands that remove the folders of runs that were killed, or are under way."""
    return [_removal(folder) for folder in sorted(directory.glob(f"{PREFIX}*")) if folder.is_dir()]


def _removal(folder: Path) -> str:
    mounted = (path for path in sorted(folder.glob("*/*")) if os.path.ismount(path))
    commands = [f"umount {shlex.quote(str(path))}" for path in mounted]
    return " && ".join([*commands, f"rm -r {shlex.quote(str(folder))}"])


def _make_folder(directory: Path) -> str:
    return tempfile.mkdtemp(prefix=PREFIX, dir=directory)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
