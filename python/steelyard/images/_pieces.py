"""Reading a stored blob: its file, or its bytes in pieces if it has no file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from io import UnsupportedOperation

from steelyard.content import ReaderAt
from steelyard.transfer._source import READ_BYTES

__all__ = ("READ_BYTES", "RawPieces", "file_of")


def file_of(reader: ReaderAt) -> int | None:
    """Return the descriptor of a reader's file, or None if it has no file."""
    try:
        return reader.fileno()
    except UnsupportedOperation:
        return None


class RawPieces:
    """The bytes of a blob, not verified. Each iteration begins at the start."""

    def __init__(self, reader: ReaderAt) -> None:
        self._reader = reader

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        offset = 0
        while piece := await self._reader.read_at(offset, READ_BYTES):
            offset += len(piece)
            yield piece
