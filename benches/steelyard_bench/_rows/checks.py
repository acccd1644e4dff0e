"""Row 10: verifying all that a store has."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._model import Contestant, Goal, Material, Payload, Row, Scale, Work
from steelyard_bench._peers import verifying
from steelyard_bench._sources import blocking
from steelyard_bench._text import size

__all__ = ("verify_all",)

MIB = 1 << 20


@dataclass(frozen=True)
class Filled:
    """A store and the files of its blobs."""

    store: LocalStore
    files: Sequence[Path]


def verify_all(scale: Scale) -> Row[Filled]:
    """Row 10: at most 0.55 H."""
    payload = Payload(count=64, size=scale(16 * MIB))
    cores = "read and hash on all cores"
    return Row(
        number=10,
        title=f"verify a store of {payload.count} blobs of {size(payload.size)}, sha256",
        payload=payload,
        material=_filled(payload),
        contestants=(
            Contestant(name="steelyard", kind="steelyard", start=_start, durable=None),
            Contestant(
                name=cores, kind="yardstick", start=blocking(_plain), durable=None, note="a file per core; no lanes"
            ),
            *verifying(payload, _files),
        ),
        goals=(Goal(contestant="steelyard", at_most=0.55, stretch=0.30),),
    )


def _filled(payload: Payload) -> Material[Filled]:
    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Filled]:
        root = folder / "store"
        async with LocalStore(root) as store:
            digests = [(await store.put(os.urandom(payload.size))).digest for _ in range(payload.count)]
            yield Filled(store, [root / "blobs" / digest.algorithm / digest.encoded for digest in digests])

    return material


@asynccontextmanager
async def _start(material: Filled, _: Path) -> AsyncIterator[Work]:
    yield partial(_verify, material.store)


async def _verify(store: LocalStore) -> None:
    async for found in store.verify_all():
        if found.error is not None:
            raise found.error


def _plain(material: Filled, _: Path) -> None:
    _yardsticks.verify_each(material.files, algorithm="sha256", threads=os.cpu_count() or 1)


def _files(material: Filled) -> Sequence[Path]:
    return material.files
