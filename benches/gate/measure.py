"""Runs the jobs and rows, each in a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec

from gate.calls import count_calls
from gate.jobs import JOBS, Job
from gate.ratios import RATIOS

__all__ = ("Measure", "measures", "memory")

Measure = Callable[[], dict[str, float]]
"""Measures some values, by name."""

_TIMES = 3
"""How often a job runs to count wakes: one or two of them depend on which thread is quicker."""

_MEMORY = Path("/dev/shm")
_ROOM = 256 << 20
_TRACE = ("strace", "-f", "-qq", "-s", "64", "-e", "signal=none")


def memory() -> Path | None:
    """Return a folder in memory with room for the rows, if there is one."""
    if not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return None
    disk = os.statvfs(_MEMORY)
    return _MEMORY if disk.f_frsize * disk.f_bavail >= _ROOM else None


def measures(*, calls: bool, ratios: bool) -> dict[str, Measure]:
    """Return what can be measured, by title: the jobs, and if wanted the rows."""
    found: dict[str, Measure] = {}
    for number, job in enumerate(JOBS):
        found[job.name] = _counting(number, job, calls=calls)
    if ratios:
        for number, wanted in enumerate(RATIOS):
            found[f"row {wanted.row}"] = _comparing(number, wanted.names())
    return found


def _counting(number: int, job: Job, *, calls: bool) -> Measure:
    def measure() -> dict[str, float]:
        told = [_count(number) for _ in range(_TIMES)]
        found = {f"{job.name}: {kind}": median(one[kind] for one in told) for kind in told[0]}
        return found | (_trace(number, job) if calls and job.steady else {})

    return measure


def _comparing(number: int, names: Sequence[str]) -> Measure:
    def measure() -> dict[str, float]:
        with _folder() as folder:
            found = msgspec.json.decode(_child("row", number, folder), type=list[float])
        return {name: round(value, 3) for name, value in zip(names, found, strict=True)}

    return measure


def _count(number: int) -> dict[str, int]:
    with _folder() as folder:
        return msgspec.json.decode(_child("job", number, folder), type=dict[str, int])


def _trace(number: int, job: Job) -> dict[str, float]:
    with _folder() as folder:
        log = folder / "calls"
        _child("job", number, folder, under=(*_TRACE, "-o", str(log)))
        with log.open(encoding="utf-8", errors="replace") as lines:
            found = count_calls(lines)
    each = {} if "calls" in job.left_out else {f"calls for each {job.unit}": found.total / job.items}
    kinds: dict[str, float] = {kind: count for kind, count in found.kinds().items() if kind not in job.left_out}
    copied = {"bytes written": found.written, "bytes read": found.read}
    passed = {f"{name} for each byte": value / job.size for name, value in copied.items() if job.size}
    return {f"{job.name}: {name}": round(value, 4) for name, value in (each | kinds | passed).items()}


def _child(what: str, number: int, folder: Path, *, under: Sequence[str] = ()) -> bytes:
    command = [*under, sys.executable, "-m", "gate.child", what, str(number), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, env=_environment())
    if done.returncode:
        raise SystemExit(f"gate: {' '.join(command)} ended with {done.returncode}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Let the child find this package, and what this process imports."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in (_package(), *sys.path) if path)}


def _package() -> str:
    return str(Path(__file__).parent.parent)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="steelyard-gate-", dir=memory()) as folder:
        yield Path(folder)
