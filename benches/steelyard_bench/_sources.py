"""The input of rows: files and blobs of random bytes, in the page cache; and the two usual ways to make a contestant."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from steelyard.local import LocalStore
from steelyard_bench._inside import run
from steelyard_bench._model import Material, Metrics, Payload, Start, Work

__all__ = ("Blobs", "blobs", "blocking", "files", "in_store", "write_random")

MaterialT = TypeVar("MaterialT")

_WRITE_BYTES = 8 << 20


@dataclass(frozen=True)
class Blobs:
    """Small blobs, in memory and as files.

    Attributes:
        data: the bytes of each.
        paths: files with the same bytes, in the same order.
    """

    data: list[bytes]
    paths: list[Path]


def files(payload: Payload) -> Material[list[Path]]:
    """Return what makes files of random bytes, no two alike. They stay in the page cache if that has room."""

    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[list[Path]]:
        paths = [folder / f"source-{number:05}" for number in range(payload.count)]
        for path in paths:
            await run(write_random, path, payload.size)
        yield paths

    return material


def blobs(payload: Payload) -> Material[Blobs]:
    """Return what makes small blobs of random bytes, no two alike."""

    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Blobs]:
        yield await run(_blobs, folder, payload)

    return material


def blocking(function: Callable[[MaterialT, Path], Metrics | None]) -> Start[MaterialT]:
    """Return a contestant's `start` for a plain function, which runs on a thread, given the material and a fresh place."""

    @asynccontextmanager
    async def start(material: MaterialT, place: Path) -> AsyncIterator[Work]:
        yield partial(function, material, place)

    return start


def in_store(
    function: Callable[[LocalStore, MaterialT], Awaitable[Metrics | None]], *, durable: bool = True
) -> Start[MaterialT]:
    """Return a contestant's `start` for a coroutine function, given an open, empty store and the material."""

    @asynccontextmanager
    async def start(material: MaterialT, place: Path) -> AsyncIterator[Work]:
        async with LocalStore(place / "store", durability="power-loss" if durable else "process-crash") as store:
            yield partial(function, store, material)

    return start


def write_random(path: Path, size: int) -> None:
    """Make a file of random bytes, on the disk and in the page cache."""
    with path.open("wb") as file:
        for at in range(0, size, _WRITE_BYTES):
            file.write(os.urandom(min(_WRITE_BYTES, size - at)))
        file.flush()
        os.fsync(file.fileno())


def _blobs(folder: Path, payload: Payload) -> Blobs:
    data = [os.urandom(payload.size) for _ in range(payload.count)]
    paths = [folder / f"source-{number:05}" for number in range(payload.count)]
    for path, content in zip(paths, data, strict=True):
        path.write_bytes(content)
    return Blobs(data, paths)
