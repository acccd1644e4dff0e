"""Abilities of file systems, and small ones in files, mounted for a test where that is allowed."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

__all__ = ("KINDS", "fill", "has_cached_reads", "mounted", "sync")

MIB = 1 << 20

KINDS = {
    "ext4": (24, ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096"]),
    "ext4-1k": (24, ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", "1024"]),
    "ext4-no-journal": (24, ["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal"]),
    "xfs": (310, ["mkfs.xfs", "-q", "-f"]),
    "btrfs": (130, ["mkfs.btrfs", "-q", "-f", "--mixed"]),
}
"""Name: size in MiB, and the command that makes it."""

MUST = bool(os.environ.get("STEELYARD_ALL_PROGRAMS"))
"""Set by `.ci/run` where it could install the programs: then nothing is skipped."""


@contextmanager
def mounted(kind: str, directory: Path) -> Iterator[Path]:
    """Make and mount a file system of that kind; give where it is mounted."""
    size, command = KINDS[kind]
    if shutil.which(command[0]) is None:
        (pytest.fail if MUST else pytest.skip)(f"{command[0]} is not installed")
    image, point = directory / f"{kind}.image", directory / kind
    with image.open("wb") as file:
        file.truncate(size * MIB)
    subprocess.run([*command, str(image)], check=True, stdout=subprocess.DEVNULL)
    point.mkdir()
    # btrfs gives back the room of deleted files when it commits, every 30 s by default.
    options = "loop,commit=1" if kind == "btrfs" else "loop"
    found = subprocess.run(
        ["mount", "-o", options, str(image), str(point)], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"needs the right to mount a file system: {found.stderr.strip()}")
    try:
        yield point
    finally:
        # Lazily: the frames of an expected error may hold a descriptor a little longer than the test.
        subprocess.run(["umount", "--lazy", str(point)], check=True)
        image.unlink()


def has_cached_reads(directory: Path) -> bool:
    """Return whether a read can be had from memory alone (`RWF_NOWAIT`); on tmpfs it cannot."""
    probe = directory / "probe"
    probe.write_bytes(b"probe")
    with probe.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(5)], 0, os.RWF_NOWAIT)
        except OSError:
            return False
    return True


def fill(point: Path) -> None:
    """Leave no room on a file system: neither for bytes nor, as far as that can be told, for names."""
    try:
        ballast = os.open(point / f"ballast-{secrets.token_hex(4)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return  # there is not even room for a name
    try:
        size, step = 0, 64 * MIB
        while step >= 512:
            try:
                os.posix_fallocate(ballast, size, step)
                size += step
            except OSError:
                step //= 2
        with suppress(OSError):
            while os.write(ballast, bytes(4096)) == 4096:
                os.lseek(ballast, 0, os.SEEK_END)
        sync(point)
        for number in range(100_000):
            (point / f"ballast-{number}-{os.getpid()}").write_bytes(bytes(100))
    except OSError:
        pass
    finally:
        os.close(ballast)
    sync(point)


def sync(point: Path) -> None:
    """Write out what a file system has in memory. `os.sync` would do so for all of the machine's, however busy they are."""
    descriptor = os.open(point, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)
