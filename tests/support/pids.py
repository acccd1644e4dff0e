"""A cgroup with a limit of processes and threads, as containers have it, where root may make one."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ("inside", "pids_cgroup")

_REMOVAL_SECONDS = 30


def _hierarchies() -> Iterator[tuple[Path, bool]]:
    """Yield where the controller `pids` may be found, and whether that is of version 2."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(maxsplit=2)
        point = Path(before.split()[4])
        if kind == "cgroup" and "pids" in options.split(","):
            yield point, False
        elif kind == "cgroup2" and "pids" in (point / "cgroup.controllers").read_text(encoding="ascii").split():
            yield point, True


@contextmanager
def pids_cgroup(most: int) -> Iterator[Path]:
    """Make a cgroup in which there may be so many threads, main threads included."""
    refusals = ["no mounted cgroup hierarchy has the controller pids"]
    for point, second in _hierarchies():
        cgroup = point / f"steelyard-test-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            if second:
                (point / "cgroup.subtree_control").write_text("+pids", encoding="ascii")
            cgroup.mkdir()
            (cgroup / "pids.max").write_text(str(most), encoding="ascii")
        except OSError as error:
            refusals.append(str(error))
            continue
        break
    else:
        pytest.skip(f"needs root and the cgroup controller pids: {'; '.join(refusals)}")
    try:
        yield cgroup
    finally:
        _remove(cgroup)


def _remove(cgroup: Path) -> None:
    """Remove it; a process that has ended is counted a moment longer."""
    end = time.monotonic() + _REMOVAL_SECONDS
    while True:
        try:
            return cgroup.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def inside(cgroup: Path, *command: str) -> list[str]:
    """Return a command line that runs the command within the cgroup from its first instruction."""
    return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(cgroup), *command]
