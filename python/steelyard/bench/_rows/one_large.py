"""Row 1: one large file."""

from __future__ import annotations

from pathlib import Path

from steelyard.bench._model import Contestant, Goal, Payload, Row, Scale
from steelyard.bench._sources import files, in_store
from steelyard.bench._text import size
from steelyard.local import LocalStore

__all__ = ("sha256",)

GIB = 1 << 30


def sha256(scale: Scale) -> Row[list[Path]]:
    """Row 1: SHA-256, durable, at most 1.10 H."""
    payload = Payload(size=scale(GIB))
    return Row(
        number=1,
        title=f"put one file of {size(payload.total)}, sha256",
        payload=payload,
        material=files(payload),
        contestants=(
            Contestant(name="steelyard", kind="steelyard", start=in_store(_put), durable=True),
            Contestant(
                name="steelyard, unsynced", kind="steelyard", start=in_store(_put, durable=False), durable=False
            ),
        ),
        goals=(Goal(contestant="steelyard", at_most=1.10),),
    )


async def _put(store: LocalStore, paths: list[Path]) -> None:
    await store.put(paths[0])
