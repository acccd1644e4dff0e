"""Reading archives: a stream in one pass, or only the headers of a file."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Self, final

from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from steelyard._archive._entry import Entry, entry_of
from steelyard._native import TarIndexer, TarReader
from steelyard._runtime import calls
from steelyard._runtime.iteration import next_item
from steelyard.model import Buffer

__all__ = ("FILES_PAGE", "TarIndex", "TarStream")

_EVENTS_PER_CHECKPOINT = 64
"""Events between two checkpoints, at which other tasks run: each event takes a few microseconds."""

_STEP = 1000
"""Entries that one hop to a thread reads; each costs a read of 64 KiB if its data is large."""

FILES_PAGE = 4096
"""Entries that one call searches for those below a directory."""


@final
class TarStream:
    """The entries of an archive in a stream, in order, each with its data. Memory does not depend on sizes.

    The iteration yields the entries, and `data` the data of the last one. Data that is not read is skipped. The iteration ends
    with the source, so its end means that the archive is whole and has nothing after its end.

    Args:
        source: the archive's bytes, in pieces of any size; see `Decompressed`.
        entries: the most entries.
        header_bytes: the most bytes of the extended headers of one entry.

    Raises:
        InvalidArchive: while iterating: the archive is malformed, contradicts itself or ends early.
        LimitExceeded: while iterating: there are more `entries` or `header_bytes`.
    """

    def __init__(self, source: AsyncIterable[Buffer], *, entries: int, header_bytes: int) -> None:
        self._source = aiter(source)
        self._reader = TarReader(entries=entries, header_bytes=header_bytes)
        self._piece: Buffer = b""
        self._start = 0
        self._events = 0
        self._entry: Entry | None = None
        self._left = 0  # remaining bytes of its data
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

        A piece is a view of a piece of the source, so it is valid only until the next one is requested.
        """
        return _Data(self)

    def find(self, name: str) -> Entry | None:
        """Return the first entry of that name among those read so far."""
        row = self._reader.find(name)
        return None if row is None else entry_of(row)

    def resolve(self, name: str) -> Entry | None:
        """Return the entry of that name, or the one that its links lead to; no path is opened.

        Each link is followed only once, in all calls together.

        Raises:
            InvalidArchive: a link leads to no entry, or in a circle.
        """
        row = self._reader.resolve(name)
        return None if row is None else entry_of(row)

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
        """Read the next event: set the entry, return the place of data in the piece, or end."""
        self._events += 1
        await (checkpoint_if_cancelled() if self._events % _EVENTS_PER_CHECKPOINT else checkpoint())
        while True:
            self._start, event = self._reader.feed(self._piece, self._start)
            if event is None:
                if not await self._more():
                    return None
            elif event[0] is not None:
                self._entry = entry_of(event[0])
                self._left = self._entry.size
                return None
            elif event[1] is not None:
                return event[1]

    async def _more(self) -> bool:
        try:
            piece = await next_item(self._source)
        except StopAsyncIteration:
            self._reader.finish()
            self._ended = True
            return False
        self._piece, self._start = piece, 0
        return True


class _Data:
    """The data of one entry; it ends when the stream goes on to the next entry."""

    def __init__(self, stream: TarStream) -> None:
        self._stream = stream
        self._entry = stream._entry  # noqa: SLF001  # two parts of one object

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        if self._entry is None or self._stream._entry is not self._entry:  # noqa: SLF001
            raise StopAsyncIteration
        piece = await self._stream._data()  # noqa: SLF001
        if piece is None:
            raise StopAsyncIteration
        return piece


@final
class TarIndex:
    """The entries of an archive without compression in a file, by name; data is not read.

    Args:
        file: the descriptor of the file, which the caller closes; its position is neither used nor changed.
        entries: the most entries.
        header_bytes: the most bytes of the extended headers of one entry.

    Raises:
        StorageError: the file cannot be read; also in a step.
    """

    def __init__(self, file: int, *, entries: int, header_bytes: int) -> None:
        self._indexer = TarIndexer(file, entries=entries, header_bytes=header_bytes)

    async def step(self) -> tuple[list[Entry], bool]:
        """Read the next headers. Return the entries whose names are repeated, and whether there are more entries.

        Raises:
            InvalidArchive, LimitExceeded: as for `TarStream`.
        """
        rows, more = await calls.run(self._indexer.step, _STEP)
        return [entry_of(row) for row in rows], more

    def __len__(self) -> int:
        """Return the number of names among the entries read so far."""
        return len(self._indexer)

    def find(self, name: str) -> Entry | None:
        """Return the first entry of that name among those read so far."""
        row = self._indexer.find(name)
        return None if row is None else entry_of(row)

    def resolve(self, name: str) -> Entry | None:
        """Return the entry of that name, or the one that its links lead to, as `TarStream.resolve` does."""
        row = self._indexer.resolve(name)
        return None if row is None else entry_of(row)

    def files_below(self, directory: str) -> Iterator[list[Entry]]:
        """Iterate over the regular files below a directory, the first of each name, in the order of the archive."""
        start: int | None = 0
        while start is not None:
            rows, start = self._indexer.files_below(directory, start, FILES_PAGE)
            yield [entry_of(row) for row in rows]
