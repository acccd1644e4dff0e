"""Test data, and expected values that are computed without the store."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from steelyard.content import Ingester, Store
from steelyard.digest import Algorithm, Digest
from steelyard.hashing import Hasher

__all__ = ("begin", "data_of", "digest_of", "keep", "now")


def data_of(size: int, name: object = "") -> bytes:
    """Return `size` pseudo-random bytes, the same for the same name."""
    return hashlib.shake_128(f"{name}".encode()).digest(size)


def digest_of(data: bytes, algorithm: Algorithm = Algorithm.SHA256) -> Digest:
    """Return the digest of the data, computed by the standard library if it has the algorithm."""
    if algorithm is Algorithm.BLAKE3:
        hasher = Hasher(algorithm)
        hasher.update(data)
        return hasher.digest()
    return Digest(algorithm, hashlib.new(algorithm.value, data).hexdigest())


async def begin(store: Ingester, ref: str, data: bytes) -> None:
    """Append `data` to an ingest, and close its writer."""
    async with store.writer(ref) as writer:
        await writer.write(data)


async def keep(store: Store, data: bytes, **labels: str) -> Digest:
    """Store a blob and return its digest."""
    return (await store.put(data, labels=labels)).digest


def now() -> datetime:
    """Return the current time in UTC, as stores report times."""
    return datetime.now(UTC)
