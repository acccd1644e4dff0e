"""Row 14: how much memory a store takes while it works, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from steelyard_bench._inside import on_asyncio
from steelyard_bench._memory import Job, Used
from steelyard_bench._model import Contestant, Goal, Metrics, Row, Scale, Work
from steelyard_bench._rows.calls import nothing
from steelyard_bench._rows.many_streams import WRITE, ingests
from steelyard_bench._text import size

__all__ = ("peak",)

MIB = 1 << 20
GIB = 1 << 30


def peak(scale: Scale) -> Row[None]:
    """Row 14: over idle, at most 64 MiB for one stream of 20 GiB, 192 MiB for 256 ingests."""
    stream, ingest = scale(20 * GIB), max(WRITE, scale(4 * MIB))
    one, many = f"one stream of {size(stream)}", f"{ingests(scale)} ingests of {size(ingest)}"
    return Row(
        number=14,
        title="the most memory over idle",
        payload=None,
        material=nothing(),
        contestants=(
            _contestant(one, Job(count=1, size=stream, write=MIB)),
            _contestant(many, Job(count=ingests(scale), size=ingest, write=WRITE)),
        ),
        goals=(
            Goal(contestant=one, at_most=64 * MIB, to=None, metric="peak_bytes", over="most"),
            Goal(contestant=many, at_most=192 * MIB, to=None, metric="peak_bytes", over="most"),
        ),
        space=stream,
        note="resident memory of a process that does nothing else, less what it had before the first byte",
    )


def _contestant(name: str, job: Job) -> Contestant[None]:
    @asynccontextmanager
    async def start(_: None, place: Path) -> AsyncIterator[Work]:
        backend = "asyncio" if on_asyncio() else "trio"
        yield partial(_measure, msgspec.structs.replace(job, backend=backend, root=str(place / "store")))

    return Contestant(
        name=name,
        kind="steelyard",
        start=start,
        durable=True,
        note="the time is that of the process",
        section=name,
        most_rounds=1 if job.size >= GIB else None,
    )


def _measure(job: Job) -> Metrics:
    command = [sys.executable, "-m", "steelyard_bench._memory", msgspec.json.encode(job).decode()]
    search = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": search}, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip())
    used = msgspec.json.decode(done.stdout, type=Used)
    return {"seconds": used.seconds, "peak_bytes": used.peak_bytes, "idle_bytes": used.idle_bytes}
