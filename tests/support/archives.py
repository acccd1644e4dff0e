"""Shared parts of the tests of archives: sources that come in pieces, and whole archives read in one go."""

from __future__ import annotations

from typing import Self

from steelyard._archive import Decompressed, Entry, TarIndex, TarStream

LIMITS = {"entries": 1000, "header_bytes": 1 << 20}


class pieces:  # noqa: N801  # what `data` is cut into; a generator that is not read to its end would need closing
    def __init__(self, data: bytes, size: int = 1 << 20) -> None:
        self._rest = (data[start : start + size] for start in range(0, len(data), size))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self._rest)
        except StopIteration:
            raise StopAsyncIteration from None


async def contents(data: bytes, size: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    """Every entry of an archive, which may be compressed, with its data."""
    stream = TarStream(Decompressed(pieces(data, size)), **LIMITS)
    found = []
    async for entry in stream:
        parts = [bytes(piece) async for piece in stream.data()]
        found.append((entry, b"".join(parts)))
    return found


def ends(found: list[Entry]) -> dict[str, str]:
    """Return for each name the name of the entry where its links lead."""
    targets = {entry.name: entry.target for entry in found}
    leads = {}
    for name, first in targets.items():
        end, target = name, first
        while target is not None:
            end, target = target, targets[target]
        leads[name] = end
    return leads


async def repeated(index: TarIndex) -> list[Entry]:
    """Read all headers; return the entries whose names come again."""
    found: list[Entry] = []
    more = True
    while more:
        again, more = await index.step()
        found += again
    return found
