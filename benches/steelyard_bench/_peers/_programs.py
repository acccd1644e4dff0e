"""Peers from the system: copying, and hashing without a copy."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from steelyard_bench._peers._shape import Peer, calling, needs_program

__all__ = ("b3sum", "copy", "sha256sum")

_ARGUMENTS = 2000
"""Files of one command line: far below what the kernel takes."""


def copy(*, durable: bool) -> Peer:
    """Copy by coreutils."""

    def work(files: Sequence[Path], folder: Path) -> None:
        _call(["cp"], files, ["--target-directory", str(folder)])
        if durable:
            subprocess.run(["sync", "--file-system", str(folder)], check=True)

    return Peer(
        name="cp, then sync" if durable else "cp",
        start=calling(work),
        durable=durable,
        note="no digest, names as they were" + (": syncs the whole file system" if durable else ", no sync"),
        algorithm="",
        available=needs_program("cp"),
    )


def sha256sum() -> Peer:
    """Hash by coreutils."""
    return Peer(
        name="sha256sum",
        start=calling(lambda files, _: _call(["sha256sum", "--binary"], files)),
        durable=None,
        note="one file after the other, no copy",
        available=needs_program("sha256sum"),
    )


def b3sum() -> Peer:
    """Hash by BLAKE3's own program."""
    return Peer(
        name="b3sum",
        start=calling(lambda files, _: _call(["b3sum"], files)),
        durable=None,
        note="all cores on each file, no copy",
        algorithm="blake3",
        available=needs_program("b3sum"),
    )


def _call(command: list[str], files: Sequence[Path], options: Sequence[str] = ()) -> None:
    for start in range(0, len(files), _ARGUMENTS):
        names = [str(file) for file in files[start : start + _ARGUMENTS]]
        subprocess.run([*command, *options, "--", *names], stdout=subprocess.DEVNULL, check=True)
