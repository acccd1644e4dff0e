"""Reading archives: in one pass from any stream, or the headers alone from a file."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Self, cast, final

from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from steelyard import _bridge
from steelyard._archive._entry import Entry, Kind
from steelyard._native import TarIndexer, TarReader
from steelyard._types import Buffer

__all__ = ("TarStream", "index")

_TURN = 64
"""Events between two turns for other tasks: each takes a few microseconds."""

_STEP = 1000
"""Entries that one hop to a thread reads; they cost a read of 64 KiB each where their data is large."""


@final
class TarStream:
    """The entries of an archive that comes as a stream, in order, each with its data; memory does not grow with sizes.

    Iterating gives the entries; `data` the data of the last one. What of it is not asked for is passed over. The iteration
    ends when the source does, so its end means that the archive is whole and nothing stands behind it.

    Args:
        source: the archive's bytes, in pieces of any size; see `Decompressed`.
        entries: how many entries there may be.
        header_bytes: how many bytes the extended headers of one entry may have.

    Raises:
        InvalidArchive: while iterating: the archive is malformed, contradicts itself or ends early.
        LimitExceeded: likewise: more than `entries` or `header_bytes`.
    """

    def __init__(self, source: AsyncIterable[Buffer], *, entries: int, header_bytes: int) -> None:
        self._source = aiter(source)
        self._reader = TarReader(entries=entries, header_bytes=header_bytes)
        self._piece: Buffer = b""
        self._start = 0
        self._events = 0
        self._entry: Entry | None = None
        self._left = 0  # bytes of its data that are still to come
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        while self._entry is not None:
            await self._data()
        while not self._ended:
            await self._event()
            if self._entry is not None:
                return self._entry
        raise StopAsyncIteration

    def data(self) -> AsyncIterator[memoryview]:
        """Return the data of the last entry, or the rest of it, in pieces.

        A piece is a view of what the source gave: it is right until the source may change it, so use it before you go on.
        """
        return _Data(self)

    async def _data(self) -> memoryview | None:
        """Return the next piece of the last entry's data; None at its end."""
        entry = self._entry
        while entry is not None and self._left > 0:
            found = await self._event()
            if found is not None:
                self._left -= found[1] - found[0]
                return memoryview(self._piece)[found[0] : found[1]]
        self._entry = None
        return None

    async def _event(self) -> tuple[int, int] | None:
        """Go on to the next event: set the entry it brings, or return the place of data in the piece, or end."""
        self._events += 1
        await (checkpoint_if_cancelled() if self._events % _TURN else checkpoint())
        while True:
            self._start, event = self._reader.feed(self._piece, self._start)
            if event is None:
                if not await self._more():
                    return None
            elif event[0] is not None:
                self._entry = _entry(event[0])
                self._left = self._entry.size
                return None
            elif event[1] is not None:
                return event[1]

    async def _more(self) -> bool:
        try:
            piece = await anext(self._source)
        except StopAsyncIteration:
            self._reader.finish()
            self._ended = True
            return False
        self._piece, self._start = piece, 0
        return True


class _Data:
    """The data of one entry; it ends when the stream has moved on."""

    def __init__(self, stream: TarStream) -> None:
        self._stream = stream
        self._entry = stream._entry  # noqa: SLF001  # two halves of one thing

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        if self._entry is None or self._stream._entry is not self._entry:  # noqa: SLF001
            raise StopAsyncIteration
        piece = await self._stream._data()  # noqa: SLF001
        if piece is None:
            raise StopAsyncIteration
        return piece


async def index(file: int, *, entries: int, header_bytes: int) -> tuple[Entry, ...]:
    """Return all entries of an archive without compression, in order; data is passed over.

    Args:
        file: the descriptor of a file; its position is neither used nor changed.
        entries: how many entries there may be.
        header_bytes: how many bytes the extended headers of one entry may have.

    Raises:
        InvalidArchive, LimitExceeded: as for `TarStream`.
        StorageError: the file cannot be read.
    """
    indexer = TarIndexer(file, entries=entries, header_bytes=header_bytes)
    found: list[Entry] = []
    while rows := await _bridge.run(indexer.step, _STEP):
        found += map(_entry, rows)
    return tuple(found)


def _entry(row: tuple[int, str, str, int, int, int, str | None, int | None]) -> Entry:
    number, name, kind, *rest = row
    return Entry(number, name, cast("Kind", kind), *cast("tuple[int, int, int, str | None, int | None]", rest))
