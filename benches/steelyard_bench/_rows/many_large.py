"""Row 3: many large files at once."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import anyio

from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._model import Contestant, Goal, Payload, Row, Scale
from steelyard_bench._peers import peer_goals, same, storing
from steelyard_bench._sources import blocking, files, in_store
from steelyard_bench._text import size

__all__ = ("at_once",)

MIB = 1 << 20


def at_once(scale: Scale) -> Row[list[Path]]:
    """Row 3: 64 files of 16 MiB, each by a `put` of its own, durable, at most 0.90 H."""
    payload = Payload(count=64, size=scale(16 * MIB))
    peers = storing(payload, same)
    contestants: list[Contestant[list[Path]]] = []
    for durable in (True, False):
        suffix = "" if durable else ", unsynced"
        contestants += [
            Contestant(
                name=f"steelyard{suffix}",
                kind="steelyard",
                start=in_store(_put_each, durable=durable),
                durable=durable,
            ),
            Contestant(
                name=f"a file per core{suffix}",
                kind="yardstick",
                start=blocking(partial(_ingest_each, durable=durable)),
                durable=durable,
                note="early writeback, an fdatasync each, one fsync at the end; no lanes" if durable else "no lanes",
            ),
        ]
    return Row(
        number=3,
        title=f"put {payload.count} files of {size(payload.size)} at once, sha256",
        payload=payload,
        material=files(payload),
        contestants=(*contestants, *peers),
        goals=(Goal(contestant="steelyard", at_most=0.90, stretch=0.60), *peer_goals("steelyard", peers)),
    )


async def _put_each(store: LocalStore, paths: list[Path]) -> None:
    async with anyio.create_task_group() as tasks:
        for path in paths:
            tasks.start_soon(store.put, path)


def _ingest_each(paths: list[Path], place: Path, *, durable: bool) -> None:
    _yardsticks.ingest_each(paths, place, algorithm="sha256", threads=os.cpu_count() or 1, durable=durable)
