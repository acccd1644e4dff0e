"""Reads parts of many blobs through the interfaces."""

from __future__ import annotations

from collections.abc import Sequence

from steelyard._runtime.concurrent import map_concurrently
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.options import ReadRange

__all__ = ("read_ranges",)

_BLOBS_AT_ONCE = 16
_RANGES_AT_ONCE = 4
"""Ranges of one blob that are read at a time: a server answers several requests at a time."""


async def read_ranges(provider: Provider, ranges: Sequence[ReadRange]) -> list[bytes | Exception]:
    """Read parts of many blobs, and open each blob once; return the bytes or the error for each part.

    A part that is a whole blob is verified. Other parts are **unverified**, as with `ReaderAt.read_at`.
    """
    places: dict[Digest, list[int]] = {}
    for place, each in enumerate(ranges):
        places.setdefault(each.digest, []).append(place)
    found: list[bytes | Exception] = [b""] * len(ranges)

    async def of_blob(digest: Digest) -> None:
        async def one(place: int) -> None:
            try:
                found[place] = await _read(reader, ranges[place])
            except Exception as error:  # noqa: BLE001  # the result carries it
                found[place] = error

        try:
            async with provider.reader_at(digest) as reader:
                await map_concurrently(places[digest], one, concurrency=_RANGES_AT_ONCE)
        except Exception as error:  # noqa: BLE001  # as above
            for place in places[digest]:
                found[place] = error

    await map_concurrently(places, of_blob, concurrency=_BLOBS_AT_ONCE)
    return found


async def _read(reader: ReaderAt, part: ReadRange) -> bytes:
    offset, size = part.within(reader.size)
    if size < reader.size:
        return await reader.read_at(offset, size)
    async with reader.stream() as stream:
        return b"".join([piece async for piece in stream])
