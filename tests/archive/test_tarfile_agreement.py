"""Other programs read the archives that we accept in the same way: archives damaged at random, read by us and by Python's tarfile.

The point of a strict reader is that no other reader sees another archive. tarfile chooses, where we refuse; where we
accept, it must find the same names, kinds, sizes, links and data. ``TAR_AGREEMENT_ARCHIVES`` and ``TAR_AGREEMENT_SEED`` choose others.
"""

from __future__ import annotations

import io
import os
import posixpath
import random
import tarfile

import pytest

from steelyard._native import TarReader
from steelyard.errors import InvalidArchive, LimitExceeded

ARCHIVES = int(os.environ.get("TAR_AGREEMENT_ARCHIVES", "10000"))
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
TYPES = (tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
FIELDS = (0, 99, 100, 108, 116, 124, 135, 136, 156, 157, 257, 263, 265, 297, 329, 337, 345, 500)
TEXTS = (
    b"\0",
    b" ",
    b"7",
    b"\x80",
    b"\xff",
    b"/",
    b"..",
    b"0000001",
    b"00000001000\0",
    b"ustar  \0",
    b"ustar\x0000",
    b"L",
)

Row = tuple[str, str, int, str | None, bytes]


def build(dice: random.Random) -> bytearray:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dice.choice(FORMATS)) as tar:
        for _ in range(dice.randrange(4)):
            info = tarfile.TarInfo("n" * dice.choice([1, 5, 99, 100, 101, 180]))
            info.type = dice.choice(TYPES)
            info.linkname = "t" * dice.choice([1, 101]) if info.type in {tarfile.SYMTYPE, tarfile.LNKTYPE} else ""
            data = bytes([dice.randrange(256)]) * (dice.choice([0, 1, 511, 512, 700]) if info.isreg() else 0)
            info.size = len(data)
            if dice.random() < 0.3:
                info.pax_headers = dice.choice(
                    [{"comment": "x"}, {"size": str(len(data))}, {"path": info.name}, {"uid": "5"}]
                )
            try:
                tar.addfile(info, io.BytesIO(data))
            except ValueError:  # too long for ustar
                continue
    return bytearray(buffer.getvalue()[: buffer.tell()])


def damage(dice: random.Random, data: bytearray) -> None:
    at = dice.randrange(len(data))
    block = at // 512 * 512
    way = dice.randrange(6)
    if way == 0:
        data[at] ^= 1 << dice.randrange(8)
    elif way == 1:
        del data[block : block + 512]
    elif way == 2:
        data[block:block] = data[block : block + 512]
    elif way == 3:
        other = dice.randrange(len(data)) // 512 * 512
        data[block:block] = data[other : other + 512]
    else:
        place, text = block + dice.choice(FIELDS), dice.choice(TEXTS)
        data[place : place + len(text)] = text
    if dice.random() < 0.8 and block + 512 <= len(data):
        head = bytearray(data[block : block + 512])
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        data[block : block + 512] = head


def ours(data: bytes) -> list[Row]:
    reader = TarReader(entries=100, header_bytes=10_000)
    rows: list[Row] = []
    start = 0
    while True:
        start, event = reader.feed(data, start)
        if event is None:
            break
        row, found = event
        if row is not None:
            _, name, kind, size, _, target, _ = row
            rows.append((name, kind, size, target, b""))
        elif found is not None:
            rows[-1] = (*rows[-1][:4], rows[-1][4] + data[found[0] : found[1]])
    reader.finish()
    return rows


def tarfiles(data: bytes) -> list[Row]:
    rows: list[Row] = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for info in tar:
            kind = (
                "directory"
                if info.isdir()
                else "symlink"
                if info.issym()
                else "hardlink"
                if info.islnk()
                else "regular"
            )
            file = tar.extractfile(info) if info.isreg() else None
            base = posixpath.dirname(_plain(info.name)) if info.issym() else ""
            target = _plain(posixpath.normpath(f"{base}/{info.linkname}")) if info.issym() or info.islnk() else None
            rows.append((_plain(info.name), kind, info.size, target, file.read() if file else b""))
    return rows


def _plain(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in {"", "."})


@pytest.mark.slow
def test_tarfile_reads_what_we_accept_alike() -> None:
    accepted = refused = 0
    first = int(os.environ.get("TAR_AGREEMENT_SEED", "0"))
    for seed in range(first, first + ARCHIVES):
        dice = random.Random(seed)
        data = build(dice)
        for _ in range(dice.randrange(3)):
            damage(dice, data)
        try:
            rows = ours(bytes(data))
        except (InvalidArchive, LimitExceeded):
            refused += 1
        else:
            accepted += 1
            assert tarfiles(bytes(data)) == rows, f"seed {seed}"
    print(f"{accepted} archives accepted, {refused} refused")
    assert accepted > 20
    assert refused > 20
