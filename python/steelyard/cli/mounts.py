"""The file system of a path, from the kernel's table of mounts."""

from __future__ import annotations

import os
import re

import msgspec

__all__ = ("Mount", "mount_of")


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A mounted file system.

    Attributes:
        kind: its type, such as ``ext4``.
        device: the mounted device, such as ``/dev/sda1``; any text if there is no device.
        point: the mount point.
        options: the mount options.
    """

    kind: str
    device: str
    point: str
    options: tuple[str, ...]


def mount_of(path: str | os.PathLike[str]) -> Mount | None:
    """Return the file system that a path is on, or None if the system does not say."""
    real = os.path.realpath(path)
    best: Mount | None = None
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:  # noqa: PTH123
            for line in mounts:
                device, point, kind, options, *_ = map(_plain, line.split(" "))
                inside = real == point or real.startswith(point.rstrip("/") + "/")
                if inside and (best is None or len(point) >= len(best.point)):
                    best = Mount(kind=kind, device=device, point=point, options=tuple(options.split(",")))
    except OSError:
        return None
    return best


def _plain(field: str) -> str:
    """Undo the escapes of the table: blanks and backslashes are octal there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
