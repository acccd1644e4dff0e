"""What a person would write without a store: hashlib and plain files, with and without the syncs that make it durable."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

CHUNK_BYTES = 1 << 20


def copy(sources: Iterable[Path], folder: Path, *, durable: bool) -> None:
    """Hash and copy files to names made of their digests; durable as `LocalStore` is when asked."""
    for source in sources:
        hasher = hashlib.sha256()
        partial = folder / "partial"
        with source.open("rb") as reading, partial.open("wb") as writing:
            while chunk := reading.read(CHUNK_BYTES):
                hasher.update(chunk)
                writing.write(chunk)
            if durable:
                writing.flush()
                os.fdatasync(writing.fileno())
        partial.rename(folder / hasher.hexdigest())
        if durable:
            directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def verify(folder: Path) -> int:
    """Read every file, compare it with its name, and return how many there are."""
    count = 0
    for path in folder.iterdir():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
                raise ValueError(path)
        count += 1
    return count


def read(path: Path) -> bytes:
    """Read one file and hash it, as a verified read does."""
    data = path.read_bytes()
    hashlib.sha256(data).digest()
    return data
