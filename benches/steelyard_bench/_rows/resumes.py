"""Row 11: going on with a large ingest after a restart, and what it costs to be able to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from steelyard.content import Writer
from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._model import Contestant, Goal, Material, Metrics, Row, Scale, Work
from steelyard_bench._sources import blocking
from steelyard_bench._text import size

__all__ = ("resume",)

MIB = 1 << 20
GIB = 1 << 30
WHOLE = 10 * GIB
REF = "half done"
WITHOUT = "put of a stream, no ref"
POOL = 64 * MIB


def resume(scale: Scale) -> Row[Path]:
    """Row 11: the first write at most 5 ms after the open, at any size; checkpoints at most 1 %."""
    half, stream = scale(WHOLE // 2), scale(GIB)
    resuming, checkpoints = (
        f"open one at {size(half)} of {size(2 * half)}, to the first write",
        f"what checkpoints cost a stream of {size(stream)}",
    )
    return Row(
        number=11,
        title="ingests that can be resumed",
        payload=None,
        material=_half_done(half),
        contestants=(
            Contestant(
                name="steelyard, resume",
                kind="steelyard",
                start=_resuming,
                durable=None,
                section=resuming,
                algorithm="",
            ),
            Contestant(
                name="hash the first half again",
                kind="yardstick",
                start=blocking(_hash_again),
                durable=None,
                note="what a store without a saved state has to do",
                section=resuming,
                most_rounds=2,
            ),
            _putting("put of a stream, with a ref", stream, checkpoints, ref="stream"),
            _putting(WITHOUT, stream, checkpoints, ref=None),
        ),
        goals=(
            Goal(contestant="steelyard, resume", at_most=5e-3, to=None, metric="seconds"),
            Goal(contestant="put of a stream, with a ref", at_most=1.01, to=WITHOUT),
        ),
        space=half + stream,
        writes=stream,
        note="only an ingest with a ref can be resumed, so only that has checkpoints",
    )


def _half_done(half: int) -> Material[Path]:
    """Return what leaves an ingest half done, and gives the root of its store."""

    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Path]:
        root = folder / "store"
        # CANCEL: the ingest is kept, and removed with the folder.
        async with LocalStore(root) as store, store.writer(REF, size=2 * half) as writer:
            await _write(writer, half)
        yield root

    return material


async def _write(writer: Writer, size: int) -> None:
    async for piece in _pieces(size):
        await writer.write(piece)


async def _pieces(size: int) -> AsyncIterator[memoryview]:
    """Give so many bytes, a MiB at a time, from a pool that is used over and over."""
    pool = memoryview(os.urandom(min(size, POOL)))
    for at in range(0, size, MIB):
        start = at % len(pool)
        yield pool[start : start + min(MIB, size - at)]


@asynccontextmanager
async def _resuming(root: Path, _: Path) -> AsyncIterator[Work]:
    writers: list[Writer] = []
    async with LocalStore(root) as store:

        async def work() -> None:
            writer = await store.writer(REF)
            writers.append(writer)
            await writer.write(bytes(64 << 10))

        yield work
        for writer in writers:
            await writer.aclose()


def _hash_again(root: Path, _: Path) -> None:
    data = root / "ingest" / hashlib.sha256(REF.encode()).hexdigest() / "data"
    _yardsticks.verify(data, algorithm="sha256")


def _putting(name: str, size: int, section: str, *, ref: str | None) -> Contestant[Path]:
    @asynccontextmanager
    async def start(_: Path, place: Path) -> AsyncIterator[Work]:
        async with LocalStore(place / "store") as store:
            yield partial(_put, store, size, ref)

    return Contestant(name=name, kind="steelyard", start=start, durable=True, section=section)


async def _put(store: LocalStore, size: int, ref: str | None) -> Metrics | None:
    await store.put(_pieces(size), ref=ref)
    return None
