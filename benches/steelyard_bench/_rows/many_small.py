"""Rows 4 and 5: many small blobs, in batches and one by one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import anyio

from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._model import Contestant, Goal, Metrics, Payload, Row, Scale
from steelyard_bench._peers import peer_goals, storing
from steelyard_bench._sources import Blobs, blobs, blocking, in_store
from steelyard_bench._text import size

__all__ = ("batch", "concurrent")

KIB = 1 << 10
TASKS = 256
THREADS = 64


def batch(scale: Scale) -> Row[Blobs]:
    """Row 4: 10,000 blobs of 4 KiB by `put_many`, durable, at most 1.3 times a batch with syncfs."""
    cores = os.cpu_count() or 1
    payload = Payload(count=scale(10_000), size=4 * KIB)
    peers = storing(payload, _paths)
    return Row(
        number=4,
        title=f"put {payload.count:,} blobs of {size(payload.size)} by put_many, sha256",
        payload=payload,
        material=blobs(payload),
        contestants=(
            *_ours(_put_many),
            _yardstick("batch with syncfs", payload, "batch", cores, "write all, syncfs, rename all, syncfs; no hash"),
            _yardstick("write and rename", payload, "none", cores, "no hash"),
            *peers,
        ),
        goals=(
            Goal(contestant="steelyard", at_most=1.3, to="batch with syncfs"),
            *peer_goals("steelyard", peers, times_ctr=40),
        ),
        small_files=True,
    )


def concurrent(scale: Scale) -> Row[Blobs]:
    """Row 5: the same by 256 tasks that put one blob after the other, durable, at most 1.3 times 64 threads."""
    payload = Payload(count=scale(10_000), size=4 * KIB)
    note = "write, fdatasync, rename, fsync for each; no hash"
    peers = storing(payload, _paths, synced_threads=THREADS)
    return Row(
        number=5,
        title=f"put {payload.count:,} blobs of {size(payload.size)}, {TASKS} puts at once, sha256",
        payload=payload,
        material=blobs(payload),
        contestants=(
            *_ours(_put_at_once),
            _yardstick(f"{THREADS} threads", payload, "each", THREADS, note),
            _yardstick("write and rename", payload, "none", os.cpu_count() or 1, "no hash"),
            *peers,
        ),
        goals=(
            Goal(contestant="steelyard", at_most=1.3, to=f"{THREADS} threads"),
            *peer_goals("steelyard", peers),
        ),
        small_files=True,
    )


def _ours(work: Callable[[LocalStore, Blobs], Awaitable[None]]) -> tuple[Contestant[Blobs], ...]:
    return (
        Contestant(name="steelyard", kind="steelyard", start=in_store(work), durable=True),
        Contestant(name="steelyard, unsynced", kind="steelyard", start=in_store(work, durable=False), durable=False),
    )


def _yardstick(
    name: str, payload: Payload, flush: Literal["batch", "each", "none"], threads: int, note: str
) -> Contestant[Blobs]:
    store = partial(_store, size=payload.size, threads=threads, flush=flush)
    note = f"{note}; {threads} threads"
    return Contestant(
        name=name, kind="yardstick", start=blocking(store), durable=flush != "none", note=note, algorithm=""
    )


def _paths(material: Blobs) -> list[Path]:
    return material.paths


async def _put_many(store: LocalStore, material: Blobs) -> None:
    async for _ in store.put_many(material.data):
        pass


async def _put_at_once(store: LocalStore, material: Blobs) -> None:
    left = iter(material.data)

    async def put_rest(blobs: Iterator[bytes]) -> None:
        for blob in blobs:
            await store.put(blob)

    async with anyio.create_task_group() as tasks:
        for _ in range(TASKS):
            tasks.start_soon(put_rest, left)


def _store(
    material: Blobs, place: Path, *, size: int, threads: int, flush: Literal["batch", "each", "none"]
) -> Metrics:
    data = b"".join(material.data)
    seconds = _yardsticks.small(data, place, size=size, threads=threads, flush=flush, hashed=False)
    return {"seconds": seconds}
