"""Compression and digests of the files of a stream: a byte for each file, and 36 bytes for a digest that is not in the file's name."""

from __future__ import annotations

from array import array
from typing import get_args

from steelyard._archive import Format
from steelyard.digest import Algorithm, Digest

__all__ = ("Hashes",)

_SIZE = 32
_FORMATS: tuple[str, ...] = get_args(Format)
_STRAY = 1
"""The mark of a file that is not stored; a stored file has a higher one, by its compression."""


class Hashes:
    """SHA-256 digests and compression of files, by the numbers of their entries."""

    def __init__(self) -> None:
        self._marks = bytearray()
        self._places = array("I")  # by entry: the place of its digest plus one
        self._digests = bytearray()

    def put(self, index: int, digest: Digest | None, compression: str | None) -> None:
        """Note a file.

        Args:
            index: the number of its entry.
            digest: its digest, or None if its name contains it.
            compression: its compression, or None if it is not stored.
        """
        missing = index + 1 - len(self._marks)
        if missing > 0:
            self._marks += bytes(missing)
        self._marks[index] = _STRAY if compression is None else _STRAY + 1 + _FORMATS.index(compression)
        if digest is not None:
            missing = index + 1 - len(self._places)
            if missing > 0:  # only where names contain no digests
                self._places.frombytes(bytes(missing * self._places.itemsize))
            self._digests += bytes.fromhex(digest.encoded)
            self._places[index] = len(self._digests) // _SIZE

    def get(self, index: int) -> tuple[Digest | None, str | None] | None:
        """Return the digest and the compression of a file, or None if it was not noted."""
        mark = self._marks[index] if index < len(self._marks) else 0
        if not mark:
            return None
        compression = None if mark == _STRAY else _FORMATS[mark - _STRAY - 1]
        place = self._places[index] if index < len(self._places) else 0
        octets = self._digests[(place - 1) * _SIZE : place * _SIZE]
        return Digest(Algorithm.SHA256, octets.hex()) if place else None, compression
