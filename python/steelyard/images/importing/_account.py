"""The results for the blobs of an import. There may be a million, so each takes about 50 bytes."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import Literal, get_args, overload

import msgspec

from steelyard.digest import Algorithm, Digest, _to_digest

__all__ = ("Account", "BlobStatus", "Blobs", "ImportedBlob")

BlobStatus = Literal["new", "present", "skipped"]
"""The result for a blob of the source: stored by this import, stored before (its bytes in the source were not read), or left out."""

_STATUSES: tuple[BlobStatus, ...] = get_args(BlobStatus)
_REFERENCED = 0x80
_TAIL = struct.Struct("<QfB")
"""Size, seconds, and status with a bit for `ImportedBlob.referenced`; they follow the digest."""

_SECONDS = struct.Struct("<f")
_STATUS_BITS = 2
_BLOCK = 4096
"""The approximate bytes of a block of rows. A full block neither moves nor grows, so no memory is spare."""


class ImportedBlob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A blob of the source.

    Attributes:
        digest: the digest.
        size: the size in bytes.
        status: the result.
        referenced: whether an image of the source needs the blob, for any platform.
        seconds: the time it took to store the blob, for small blobs the time of their batch; 0 if it was not stored.
    """

    digest: Digest
    size: int
    status: BlobStatus
    referenced: bool
    seconds: float


class Account:
    """Collects the result for each blob, as rows of bytes by algorithm and the first byte of the digest.

    A row is the digest, a byte with the status and the number of bytes of the size, the size, and the seconds.

    Attributes:
        count: the number of results.
    """

    def __init__(self) -> None:
        self.count = 0
        self._groups: defaultdict[tuple[Algorithm, int], _Rows] = defaultdict(_Rows)

    def add(self, digest: Digest, size: int, status: BlobStatus, seconds: float) -> None:
        """Add the result for a blob. If a blob has several results, the first one counts."""
        octets = bytes.fromhex(digest.encoded)
        length = (size.bit_length() + 7) // 8
        head = _STATUSES.index(status) | length << _STATUS_BITS
        row = b"".join((octets, bytes((head,)), size.to_bytes(length, "little"), _SECONDS.pack(seconds)))
        self._groups[digest.algorithm, octets[0]].add(row)
        self.count += 1

    def close(self, referenced: Collection[Digest]) -> Blobs:
        """Return the blobs, and free the rows.

        Args:
            referenced: the blobs that images need.
        """
        groups = []
        for algorithm, first in sorted(self._groups):
            rows = self._groups.pop((algorithm, first))
            groups.append((algorithm, _finished(algorithm, rows, referenced)))
        return Blobs(groups)


class _Rows:
    """Rows in blocks."""

    def __init__(self) -> None:
        self._full: list[bytes] = []
        self._last = bytearray()

    def add(self, row: bytes) -> None:
        """Add a row."""
        self._last += row
        if len(self._last) >= _BLOCK:
            self._full.append(bytes(self._last))
            self._last = bytearray()

    def blocks(self) -> Iterator[bytes]:
        """Iterate over the blocks; no row is split."""
        yield from self._full
        yield bytes(self._last)


def _finished(algorithm: Algorithm, rows: _Rows, referenced: Collection[Digest]) -> bytes:
    """Return the rows sorted by digest, each digest once, all of the same width."""
    width = algorithm.encoded_length // 2
    found: dict[bytes, bytes] = {}
    for block in rows.blocks():
        start = 0
        while start < len(block):
            octets, head = block[start : start + width], block[start + width]
            begin = start + width + 1
            end = begin + (head >> _STATUS_BITS)
            start = end + _SECONDS.size
            if octets in found:
                continue
            status = head & ((1 << _STATUS_BITS) - 1)
            if _to_digest(algorithm, octets.hex()) in referenced:
                status |= _REFERENCED
            (seconds,) = _SECONDS.unpack_from(block, end)
            found[octets] = octets + _TAIL.pack(int.from_bytes(block[begin:end], "little"), seconds, status)
    return b"".join(found[octets] for octets in sorted(found))


class Blobs(Sequence[ImportedBlob]):
    """Blobs sorted by digest; each is unpacked on access."""

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
