"""H: what one thread needs for SHA-256 over the same bytes, by OpenSSL through hashlib.

The unit of most goals. It is measured in every round, because nothing else tells what the machine could do just then.
The bytes are in memory and warm: blobs are cut from one pool of at most 64 MiB.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from steelyard_bench._model import Contestant, H, Payload, Start, Work

__all__ = ("alone", "hash_alone")

_POOL = 64 << 20


def alone(payload: Payload) -> Contestant[Any]:
    """Return the contestant that only hashes."""
    return Contestant(
        name=H,
        kind="yardstick",
        start=_start(payload),
        durable=None,
        note="sha256 of the same bytes in memory, one thread, OpenSSL",
    )


def hash_alone(payload: Payload) -> None:
    """Hash as many bytes as the payload has, in as many blobs."""
    pool = memoryview(_pool(min(payload.total, _POOL)))
    at = 0
    for _ in range(payload.count):
        hasher = hashlib.sha256()
        left = payload.size
        while left:
            piece = pool[at : at + left]
            hasher.update(piece)
            left -= len(piece)
            at = (at + len(piece)) % len(pool)
        hasher.digest()


def _start(payload: Payload) -> Start[Any]:
    @asynccontextmanager
    async def start(material: Any, place: Path) -> AsyncIterator[Work]:
        del material, place
        yield lambda: hash_alone(payload)

    return start


@lru_cache(maxsize=1)
def _pool(size: int) -> bytes:
    return os.urandom(size)
