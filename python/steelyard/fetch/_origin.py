"""Sources of bytes: anything that can be opened at an offset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing

import msgspec
from anyio import BrokenResourceError

from steelyard._runtime.scopes import managed
from steelyard.digest import Digest
from steelyard.errors import Unreachable
from steelyard.fetch._pauses import Transient
from steelyard.model import Buffer, Source
from steelyard.transfer._source import Pieces, opened

__all__ = ("Answer", "FunctionOrigin", "OpenAt", "Origin")

OpenAt = Callable[[int], Awaitable[Source]]
"""An async function that returns the bytes of a source from an offset on, as an async iterator or another `steelyard.content.Source`."""

_RETRIED = (ConnectionError, TimeoutError, BrokenResourceError, Unreachable)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a source from an offset on, and the known facts of the whole.

    Attributes:
        offset: the position of the first byte.
        end: the position after the last byte, or None if unknown.
        total: the size of the whole, or None if unknown.
        framed: whether the end of `pieces` proves that they are complete.
        validator: the strong validator of this version, or None.
        digest: the digest of the whole according to the source, or None.
        is_part: whether it is a part of the source.
        takes_ranges: whether the source supports requests for any range.
        pieces: the bytes.
    """

    offset: int
    pieces: AsyncIterator[Buffer]
    end: int | None = None
    total: int | None = None
    framed: bool = True
    validator: str | None = None
    digest: Digest | None = None
    is_part: bool = False
    takes_ranges: bool = False


class Origin(ABC):
    """A source that can be opened at an offset, any number of times.

    Attributes:
        shown: its name for people, without secrets.
    """

    shown: str

    @abstractmethod
    def open(
        self, offset: int, validator: str | None, *, end: int | None = None, spare: bool = False
    ) -> AbstractAsyncContextManager[Answer]:
        """Open the source.

        Args:
            offset: the position to begin at. The answer may begin at 0 nevertheless.
            validator: at an offset above 0, the validator of the required version, if it has one. Another version is
                answered from 0.
            end: the position after the last byte that is wanted, or None for the end of the source. It is given only to a source that
                takes ranges.
            spare: whether to raise `Busy` instead of waiting for a free connection.

        Raises:
            Transient: another attempt may succeed.
            Changed: the answer is a part of another version.
            Unsatisfiable: the source ends before `offset`.
            NotFound, ServerRefused, InvalidResponse: another attempt would not succeed.
        """


class FunctionOrigin(Origin):
    """A source that a function of the caller opens."""

    def __init__(self, open_at: OpenAt, *, size: int | None, shown: str) -> None:
        self.shown = shown
        self._open_at = open_at
        self._size = size

    @managed
    async def open(
        self, offset: int, validator: str | None, *, end: int | None = None, spare: bool = False
    ) -> AsyncIterator[Answer]:
        """Call the function."""
        del validator, end, spare
        try:
            source = await self._open_at(offset)
        except _RETRIED as error:
            raise Transient(_words(error)) from None
        try:
            async with opened(source) as pieces, aclosing(_each(pieces)) as each:
                yield Answer(offset=offset, pieces=each, total=self._size)
        finally:
            # The source was opened for this call, so it is closed with it. `opened` leaves an iterator open.
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()


async def _each(pieces: Pieces) -> AsyncGenerator[Buffer, None]:
    try:
        while piece := await pieces.read():
            yield piece
    except _RETRIED as error:
        raise Transient(_words(error)) from None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
