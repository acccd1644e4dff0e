"""The same entries as different tar archives: kinds of headers, of names and of ends, and faults in one header."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from support.make_archives import Link

__all__ = ("Shape", "shapes")

BLOCK = 512
CHECKSUM = slice(148, 156)
FAULTS = {
    "bad checksum": {},
    "device": {156: b"3"},
    "pipe": {156: b"6"},
    "contiguous": {156: b"7"},
    "old file": {156: b"\0"},
    "hard link to nothing": {156: b"1"},
    "sparse": {156: b"S"},
    "volume": {156: b"V"},
    "long name": {156: b"L"},
    "extended header": {156: b"x"},
    "global header": {156: b"g"},
    "unknown kind": {156: b"Z"},
    "size of 8 GiB": {124: b"77777777777 "},
    "size in base 256": {124: b"\x80" + bytes(10) + b"\x05"},
    "negative size": {124: b"\xff" * 12},
    "size without digits": {124: bytes(12)},
    "no magic": {257: bytes(8)},
    "magic of GNU": {257: b"ustar  \0"},
    "no name": {0: bytes(100)},
    "name that leads up": {0: b"../a".ljust(100, b"\0")},
    "absolute name": {0: b"/a".ljust(100, b"\0")},
    "prefix": {345: b"p".ljust(155, b"\0")},
}
"""Faults, or oddities: the bytes that are put at offsets of a header. The checksum is made right again, unless that is the fault."""

ENDS = {
    "two blocks": bytes(2 * BLOCK),
    "a record": bytes(20 * BLOCK),
    "one block": bytes(BLOCK),
    "nothing": b"",
    "more": bytes(3 * BLOCK),
    "half a block": bytes(2 * BLOCK + 100),
    "other bytes": bytes(2 * BLOCK) + b"x" * BLOCK,
    "other bytes after one block": bytes(BLOCK) + b"x" * BLOCK,
}


@dataclass(frozen=True)
class Shape:
    """How an archive is written.

    Attributes:
        format: the format that tarfile knows.
        prefix: what stands before each name.
        folders: whether directories have entries.
        records: extended headers of each entry.
        hard: whether links are hard links.
        fault: what is wrong in a header.
        at: of which entry, counted around.
        end: how the archive ends.
        cut: how many bytes are missing at its end.
    """

    format: int = tarfile.USTAR_FORMAT
    prefix: str = ""
    folders: bool = False
    records: tuple[tuple[str, str], ...] = ()
    hard: bool = False
    fault: str | None = None
    at: int = 0
    end: str = "two blocks"
    cut: int = 0

    @property
    def is_faulty(self) -> bool:
        """Whether there may be something to refuse."""
        plain = Shape(self.format, folders=self.folders, records=self.records)
        return plain != self

    def write(self, entries: Sequence[tuple[str, bytes | Link]]) -> bytes:
        """Return the archive."""
        file, headers = io.BytesIO(), []
        with tarfile.open(fileobj=file, mode="w", format=self.format) as archive:
            for name in self._folders(entries):
                entry = tarfile.TarInfo(self.prefix + name)
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            for name, content in entries:
                headers.append(archive.offset)
                archive.addfile(*self._entry(name, content))
            size = archive.offset
        data = bytearray(file.getvalue()[:size])
        if self.fault is not None and headers:
            _spoil(data, headers[self.at % len(headers)], self.fault)
        data += ENDS[self.end]
        return bytes(data[: len(data) - self.cut])

    def _entry(self, name: str, content: bytes | Link) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
        entry = tarfile.TarInfo(self.prefix + name)
        entry.pax_headers = dict(self.records)
        if isinstance(content, Link):
            entry.type = tarfile.LNKTYPE if self.hard else tarfile.SYMTYPE
            entry.linkname = content.replace("../", "") if self.hard else content
            return entry, None
        entry.size = len(content)
        return entry, io.BytesIO(content)

    def _folders(self, entries: Sequence[tuple[str, bytes | Link]]) -> list[str]:
        found: dict[str, None] = {}
        for name, _ in entries if self.folders else ():
            parts = name.split("/")[:-1]
            found.update(dict.fromkeys("/".join(parts[: number + 1]) for number in range(len(parts))))
        return list(found)


def _spoil(data: bytearray, start: int, fault: str) -> None:
    for offset, octets in FAULTS[fault].items():
        data[start + offset : start + offset + len(octets)] = octets
    header = data[start : start + BLOCK]
    header[CHECKSUM] = b" " * 8
    header[CHECKSUM] = b"%06o\0 " % (sum(header) + (fault == "bad checksum"))
    data[start : start + BLOCK] = header


def shapes() -> st.SearchStrategy[Shape]:
    """Give shapes, most of them without a fault."""
    records = [
        (),
        (("mtime", "1.5"),),
        (("comment", "x" * 600),),
        (("path", "other"),),
        (("size", "3"),),
        (("a.b", ""),),
    ]
    return st.builds(
        Shape,
        format=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
        prefix=st.sampled_from([""] * 6 + ["./", "././", "/", "a/../", "d" * 120 + "/"]),
        folders=st.booleans(),
        records=st.sampled_from([()] * 4 + records),
        hard=st.booleans(),
        fault=st.sampled_from([None] * 20 + sorted(FAULTS)),
        at=st.integers(0, 9),
        end=st.sampled_from(["two blocks"] * 4 + sorted(ENDS)),
        cut=st.sampled_from([0] * 8 + [1, 100, BLOCK, 3 * BLOCK]),
    )
