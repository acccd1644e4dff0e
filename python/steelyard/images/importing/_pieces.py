"""The pieces of a stream and of its entries, on their way to the store."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Self

from steelyard._runtime.iteration import next_item
from steelyard.content import ReaderAt
from steelyard.images._pieces import READ_BYTES
from steelyard.images.importing._result import Ledger
from steelyard.model import Buffer

__all__ = ("Counted", "Rest", "Spliced")


class Counted:
    """A stream whose bytes count in the progress of the import."""

    def __init__(self, source: AsyncIterable[Buffer], ledger: Ledger) -> None:
        self._source = aiter(source)
        self._ledger = ledger

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        piece = await next_item(self._source)
        self._ledger.advance(memoryview(piece).nbytes)
        # The stream is read ahead, so the buffer is copied: the source may reuse it.
        return piece if type(piece) is bytes else bytes(piece)


class Rest:
    """The data of an entry, with the first piece, which was read before."""

    def __init__(self, first: memoryview, rest: AsyncIterator[memoryview]) -> None:
        self._first: memoryview | None = first
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        first, self._first = self._first, None
        return await next_item(self._rest) if first is None else first


class Spliced:
    """The data of an entry whose first bytes equal those of a stored blob, and are read from there."""

    def __init__(self, reader: ReaderAt, equal: int, piece: memoryview, rest: AsyncIterator[memoryview]) -> None:
        self._reader = reader
        self._offset = 0
        self._equal = equal
        self._rest = Rest(memoryview(bytes(piece)), rest)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        if self._offset == self._equal:
            return await next_item(self._rest)
        piece = await self._reader.read_at(self._offset, min(self._equal - self._offset, READ_BYTES))
        self._offset += len(piece)
        return piece
