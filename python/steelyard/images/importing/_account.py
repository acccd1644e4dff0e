"""What became of the blobs of an import, in some 50 bytes for each: there may be a million."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import Literal, get_args, overload

import msgspec

from steelyard.digest import Algorithm, Digest

__all__ = ("Account", "BlobStatus", "Blobs", "ImportedBlob")

BlobStatus = Literal["new", "present", "skipped"]
"""What became of a blob of the source: stored now; stored before, so that its bytes here were not looked at; left out."""

_STATUSES: tuple[BlobStatus, ...] = get_args(BlobStatus)
_REFERENCED = 0x80
_TAIL = struct.Struct("<QfB")
"""Size, seconds, and status with a bit for `ImportedBlob.referenced`; the digest stands before them."""


class ImportedBlob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A blob of the source.

    Attributes:
        digest: its name.
        size: its length in bytes.
        status: what became of it.
        referenced: whether an image of the source, for any platform, needs it.
        seconds: how long it took to store, which small blobs do in batches; 0 for what was not stored.
    """

    digest: Digest
    size: int
    status: BlobStatus
    referenced: bool
    seconds: float


class Account:
    """Takes what becomes of each blob, as rows of bytes by algorithm and the first byte of the digest."""

    def __init__(self) -> None:
        self._groups: defaultdict[tuple[Algorithm, int], bytearray] = defaultdict(bytearray)

    def add(self, digest: Digest, size: int, status: BlobStatus, seconds: float) -> None:
        """Take what became of a blob; what came first of one that comes twice counts."""
        octets = bytes.fromhex(digest.encoded)
        row = octets + _TAIL.pack(size, seconds, _STATUSES.index(status))
        self._groups[digest.algorithm, octets[0]] += row

    def close(self, referenced: Collection[Digest]) -> Blobs:
        """Return the blobs, and forget them.

        Args:
            referenced: the blobs that an image needs.
        """
        groups = []
        for algorithm, first in sorted(self._groups):
            rows = self._groups.pop((algorithm, first))
            groups.append((algorithm, _finished(algorithm, rows, referenced)))
        return Blobs(groups)


def _finished(algorithm: Algorithm, rows: bytearray, referenced: Collection[Digest]) -> bytes:
    """Return the rows in the order of their digests, each digest once."""
    width = algorithm.encoded_length // 2
    found: dict[bytes, bytes] = {}
    for start in range(0, len(rows), width + _TAIL.size):
        row = bytes(rows[start : start + width + _TAIL.size])
        octets = row[:width]
        if octets not in found:
            is_needed = Digest(algorithm, octets.hex()) in referenced
            found[octets] = row[:-1] + bytes([row[-1] | _REFERENCED]) if is_needed else row
    return b"".join(found[octets] for octets in sorted(found))


class Blobs(Sequence[ImportedBlob]):
    """Blobs in the order of their digests, made one by one when they are asked for."""

    def __init__(self, groups: Sequence[tuple[Algorithm, bytes]]) -> None:
        self._groups = tuple(groups)
        self._ends = tuple(accumulate(len(rows) // _width(algorithm) for algorithm, rows in self._groups))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> ImportedBlob: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ImportedBlob, ...]: ...
    def __getitem__(self, index: int | slice) -> ImportedBlob | tuple[ImportedBlob, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(len(self))[index])
        place = range(len(self))[index]
        group = bisect_right(self._ends, place)
        algorithm, rows = self._groups[group]
        return _blob(algorithm, rows, place - (self._ends[group - 1] if group else 0))

    def __iter__(self) -> Iterator[ImportedBlob]:
        for algorithm, rows in self._groups:
            for number in range(len(rows) // _width(algorithm)):
                yield _blob(algorithm, rows, number)

    def __eq__(self, other: object) -> bool:
        return self._groups == other._groups if isinstance(other, Blobs) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._groups)

    def __repr__(self) -> str:
        return f"<{len(self)} blobs>"


def _width(algorithm: Algorithm) -> int:
    return algorithm.encoded_length // 2 + _TAIL.size


def _blob(algorithm: Algorithm, rows: bytes, number: int) -> ImportedBlob:
    width = _width(algorithm)
    row = rows[number * width : (number + 1) * width]
    size, seconds, status = _TAIL.unpack(row[-_TAIL.size :])
    return ImportedBlob(
        digest=Digest(algorithm, row[: -_TAIL.size].hex()),
        size=size,
        status=_STATUSES[status & ~_REFERENCED],
        referenced=bool(status & _REFERENCED),
        seconds=round(seconds, 3),
    )
