"""Compressed streams: gzip, zstd and xz in, gzip and zstd out, in pieces and off the event loop; bzip2 is refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable
from typing import Literal, Self, cast, final

from anyio import ClosedResourceError

from steelyard._native import Compressor, Decompressor, detect_format
from steelyard._runtime import calls
from steelyard._runtime.iteration import next_item
from steelyard.model import Buffer

__all__ = ("HEAD", "Compressed", "Decompressed", "Format", "format_of")

Format = Literal["plain", "gzip", "zstd", "xz", "bzip2"]

HEAD = 6
"""So many bytes tell the format."""

_OUTPUT = 1 << 20
"""What a piece of output has at most: some milliseconds of work."""

_MEMORY = 128 << 20
"""What a window or dictionary may take: as much as ``zstd`` and ``xz -9`` ask for unless they are told otherwise."""


def format_of(head: Buffer) -> Format:
    """Return what a stream is compressed with that begins with `head`: `HEAD` bytes, or fewer where it ends."""
    return cast("Format", detect_format(head))


class _Coded(ABC):
    """Pieces of a source, turned into others by native code."""

    def __init__(self, source: AsyncIterable[Buffer]) -> None:
        self._source = aiter(source)
        self._piece: Buffer = b""
        self._start = 0
        self._full = False  # whether the last output was: then there may be more without any input
        self._busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        """Return the next piece of output, never empty; right until the source may change what it gave.

        Cancellation:
            The stream is over: what was under way may be lost, and the next call raises `ClosedResourceError`.
        """
        if self._busy:
            raise ClosedResourceError
        self._busy = True
        piece = await self._next()
        self._busy = False
        if piece is None:
            raise StopAsyncIteration
        return piece

    @abstractmethod
    async def _next(self) -> memoryview | None: ...

    async def _pull(self) -> bool:
        """Take the next piece of the source; False at its end."""
        self._start = 0
        try:
            self._piece = await next_item(self._source)
        except StopAsyncIteration:
            self._piece = b""
            return False
        return True

    async def _run(self, coder: Compressor | Decompressor) -> memoryview:
        """Work on the piece at hand."""
        output = bytearray(_OUTPUT)
        self._start, filled = await calls.run(coder.run, self._piece, self._start, output)
        self._full = filled == len(output)
        return memoryview(output)[:filled]

    def _pending(self) -> bool:
        return self._full or self._start < memoryview(self._piece).nbytes


@final
class Decompressed(_Coded):
    """What a stream holds without its compression, which is found by its first bytes.

    The end of the iteration means that the input was one or more whole streams with nothing behind them.

    Args:
        source: the input, in pieces of any size.
        ratio: how many times larger than the input the output may be, counted from 1 MiB of output on; None for any.
        memory: bytes that a window or dictionary may take.

    Raises:
        InvalidArchive: while iterating: the input is damaged, ends early, has something behind its end or is in bzip2.
        LimitExceeded: likewise: `ratio`.
    """

    def __init__(self, source: AsyncIterable[Buffer], *, ratio: int | None = None, memory: int = _MEMORY) -> None:
        super().__init__(source)
        self._ratio = ratio
        self._memory = memory
        self._coder: Decompressor | None = None
        self._format: Format | None = None

    @property
    def format(self) -> Format | None:
        """What the input is compressed with; None before the first piece."""
        return self._format

    def lift_ratio(self) -> None:
        """Allow any ratio from here on."""
        self._ratio = None
        if self._coder is not None:
            self._coder.lift_ratio()

    async def _next(self) -> memoryview | None:
        if self._format is None:
            await self._begin()
        while True:
            if not self._pending() and not await self._pull():
                if self._coder is not None:
                    self._coder.finish()
                return None
            if self._coder is None:
                piece, self._start = memoryview(self._piece)[self._start :], memoryview(self._piece).nbytes
            else:
                piece = await self._run(self._coder)
            if piece.nbytes:
                return piece

    async def _begin(self) -> None:
        """Find the format; a head that comes in crumbs is put together."""
        head = b""
        while await self._pull():
            if not head and memoryview(self._piece).nbytes >= HEAD:
                break
            head += bytes(self._piece)
            if len(head) >= HEAD:
                self._piece = head
                break
        else:
            self._piece = head
        self._format = format_of(memoryview(self._piece)[:HEAD])
        if self._format != "plain":
            self._coder = Decompressor(self._format, ratio=self._ratio, memory=self._memory)


@final
class Compressed(_Coded):
    """A stream, compressed: the same bytes, format and level give the same output, on every machine.

    How the source is cut does not matter. A release may take a newer version of a library, whose output differs; the
    changelog says so.

    Args:
        source: the input, in pieces of any size.
        compression: ``gzip`` or ``zstd``.
        level: 1 to 9 for gzip, 6 if None; 1 to 19 for zstd, 3 if None.

    Raises:
        InvalidArgument: another format or level.
    """

    def __init__(
        self, source: AsyncIterable[Buffer], compression: Literal["gzip", "zstd"], *, level: int | None = None
    ) -> None:
        super().__init__(source)
        self._coder = Compressor(compression, level=level)
        self._is_finishing = False

    async def _next(self) -> memoryview | None:
        while not self._is_finishing:
            if not self._pending() and not await self._pull():
                self._is_finishing = self._full = True
                break
            piece = await self._run(self._coder)
            if piece.nbytes:
                return piece
        if not self._full:
            return None
        output = bytearray(_OUTPUT)
        filled = await calls.run(self._coder.finish, output)
        self._full = filled == len(output)
        return memoryview(output)[:filled] if filled else None
