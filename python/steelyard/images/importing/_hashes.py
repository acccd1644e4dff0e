"""What is remembered of the files of a stream: digests and compressions, in 33 bytes for each entry."""

from __future__ import annotations

from typing import get_args

from steelyard._archive import Format
from steelyard.digest import Algorithm, Digest

__all__ = ("Hashes",)

_SIZE = 33
_FORMATS: tuple[str, ...] = get_args(Format)
_STRAY = 1
"""The mark of a file that is not stored; of one that is it is higher, by its compression."""


class Hashes:
    """SHA-256 digests of files by the numbers of their entries."""

    def __init__(self) -> None:
        self._rows = bytearray()

    def put(self, index: int, digest: Digest, compression: str | None) -> None:
        """Remember a file's digest, and what it is compressed with; None for one that is not stored.

        A digest of another algorithm is not kept: only the names of files are such, and those tell it.
        """
        missing = (index + 1) * _SIZE - len(self._rows)
        if missing > 0:
            self._rows += bytes(missing)
        mark = _STRAY if compression is None else _STRAY + 1 + _FORMATS.index(compression)
        self._rows[index * _SIZE : (index + 1) * _SIZE] = bytes([mark]) + (
            bytes.fromhex(digest.encoded) if digest.algorithm is Algorithm.SHA256 else bytes(_SIZE - 1)
        )

    def get(self, index: int) -> tuple[Digest, str | None] | None:
        """Return what was remembered of a file."""
        row = self._rows[index * _SIZE : (index + 1) * _SIZE]
        if not row or not row[0]:
            return None
        compression = None if row[0] == _STRAY else _FORMATS[row[0] - _STRAY - 1]
        return Digest(Algorithm.SHA256, row[1:].hex()), compression
