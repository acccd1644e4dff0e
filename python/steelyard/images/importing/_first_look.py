"""A first check of a source, so that no store is created if the source is not an archive."""

from __future__ import annotations

import stat
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Self

from steelyard._runtime.calls import run
from steelyard._runtime.iteration import next_item
from steelyard.images.importing._blob_writer import ImportBlobWriter
from steelyard.images.importing._open import ImportSource, SourceOpener
from steelyard.images.importing._result import Ledger
from steelyard.images.leases import LeaseGuard
from steelyard.images.limits import DEFAULT_LIMITS
from steelyard.images.read import ParsedDocuments
from steelyard.memory import MemoryStore
from steelyard.model import Buffer

__all__ = ("look_first",)


async def look_first(source: Path | AsyncIterable[Buffer]) -> Path | AsyncIterable[Buffer]:
    """Refuse a source that is neither an archive nor a layout, before anything is stored; return the source to import.

    The check reads the headers and documents of a plain file or a layout, and the first bytes of a compressed file or a stream.
    A path that can be read only once, such as that of a pipe, is not read.

    Raises:
        InvalidArchive, InvalidDocument, LimitExceeded, OSError: as by `import_images`.
    """
    if isinstance(source, Path):
        if await run(_can_be_read_again, source):
            await _look(source)
        return source
    recorded = _Recorded(aiter(source))
    await _look(recorded)
    return recorded.again()


async def _look(source: ImportSource) -> None:
    writer = ImportBlobWriter(LeaseGuard(MemoryStore()), Ledger("", None))
    opener = SourceOpener(writer=writer, parsed=ParsedDocuments(DEFAULT_LIMITS), concurrency=1)
    async with opener.open(source) as images:
        await images.look()


def _can_be_read_again(path: Path) -> bool:
    mode = path.stat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


class _Recorded:
    """A stream that keeps the pieces that were read from it."""

    def __init__(self, source: AsyncIterator[Buffer]) -> None:
        self._source = source
        self._pieces: deque[Buffer] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        piece = bytes(await next_item(self._source))
        self._pieces.append(piece)
        return piece

    def again(self) -> _Again:
        """Return the whole stream."""
        return _Again(self._pieces, self._source)


class _Again:
    """The pieces that were read, and then the rest."""

    def __init__(self, pieces: deque[Buffer], rest: AsyncIterator[Buffer]) -> None:
        self._pieces = pieces
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        return self._pieces.popleft() if self._pieces else await next_item(self._rest)
