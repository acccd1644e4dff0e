"""Compressed streams: gzip, zstd and xz are read, gzip and zstd written, in pieces and off the event loop; bzip2 is refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Literal, Self, cast, final

from anyio import ClosedResourceError

from steelyard._native import Compressor, Decompressor, detect_format
from steelyard._runtime import calls
from steelyard._runtime.iteration import next_item
from steelyard.errors import SteelyardError
from steelyard.model import Buffer

__all__ = ("HEAD", "Compressed", "Decompressed", "Format", "format_of")

Format = Literal["plain", "gzip", "zstd", "xz", "bzip2"]

HEAD = 6
"""The bytes at the start that identify the format."""

_PIECE = 1 << 20
"""The most bytes of a piece of output: some milliseconds of work. The memory of such pieces is used again."""

_AHEAD = 8
"""The most pieces that one hop decompresses; the first hop makes one, because a first look needs no more."""

_ENOUGH = 4 << 20
"""With this much input, a hop takes no more of the source."""

_JOIN_BELOW = 256 << 10
"""Smaller pieces of input are joined, so that each call has enough to do and its output is not mostly empty."""

_MEMORY = 128 << 20
"""The most bytes of a window or dictionary: as many as ``zstd`` and ``xz -9`` need with default options."""


def format_of(head: Buffer) -> Format:
    """Return the compression of a stream by its first `HEAD` bytes, or all if it has fewer."""
    return cast("Format", detect_format(head))


class _Coded(ABC):
    """Pieces of a source, converted by native code."""

    def __init__(self, source: AsyncIterable[Buffer]) -> None:
        self._source = aiter(source)
        self._piece: Buffer = b""
        self._start = 0
        self._full = False  # whether the last output filled its buffer: then there may be more without further input
        self._busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        """Return the next piece of output, never empty. It is valid until the source may change its last piece.

        Cancellation:
            Ends the stream: output may be lost, and the next call raises `ClosedResourceError`.
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
    async def _next(self) -> memoryview | None:
        """Return the next output, None at the end."""

    async def _pull(self) -> bool:
        """Take the next piece of the source; False at its end."""
        self._start = 0
        try:
            self._piece = await next_item(self._source)
        except StopAsyncIteration:
            self._piece = b""
            return False
        return True

    def _pending(self) -> bool:
        return self._full or self._start < memoryview(self._piece).nbytes


def _nothing() -> Iterable[Buffer]:
    return ()


@final
class Decompressed(_Coded):
    """A stream without its compression, which is identified by its first bytes.

    The iteration ends only if the input was one or more whole streams with nothing after them.

    Args:
        source: the input, in pieces of any size.
        ratio: the greatest ratio of output to input, checked from 1 MiB of output on; None: no limit.
        ready: gives the pieces of the source that are there without a wait, to be decompressed in the same hop. With it, the
            pieces of the source must remain valid.

    Raises:
        InvalidArchive: while iterating: the input is damaged, ends early, has data after its end or is in bzip2.
        LimitExceeded: while iterating: the ratio is too great.
    """

    def __init__(
        self,
        source: AsyncIterable[Buffer],
        *,
        ratio: int | None = None,
        ready: Callable[[], Iterable[Buffer]] = _nothing,
    ) -> None:
        super().__init__(source)
        self._ratio = ratio
        self._ready = ready
        self._inputs: deque[Buffer] = deque()  # behind the current piece
        self._outputs: deque[memoryview] = deque()
        self._calls = 1  # in the next hop
        self._coder: Decompressor | None = None
        self._format: Format | None = None

    @property
    def format(self) -> Format | None:
        """The compression of the input; None before the first piece."""
        return self._format

    def lift_ratio(self) -> None:
        """Allow any ratio from now on."""
        self._ratio = None
        if self._coder is not None:
            self._coder.lift_ratio()

    async def _next(self) -> memoryview | None:
        if self._format is None:
            await self._begin()
        while not self._outputs:
            if not self._pending() and not await self._pull():
                if self._coder is not None:
                    self._coder.finish()
                return None
            if self._coder is None:
                piece, self._start = memoryview(self._piece)[self._start :], memoryview(self._piece).nbytes
                if piece.nbytes:
                    return piece
            else:
                if not self._inputs and memoryview(self._piece).nbytes - self._start < _ENOUGH:
                    self._inputs.extend(self._ready())
                await calls.run(self._decompress, self._coder)
        return self._outputs.popleft()

    def _pending(self) -> bool:
        return super()._pending() or bool(self._inputs)

    def _decompress(self, coder: Decompressor) -> None:
        """Decompress the next pieces, on a thread."""
        most, self._calls = self._calls, _AHEAD
        for _ in range(most):
            if not self._pending():
                break
            if not super()._pending():
                self._piece, self._start = _joined(self._inputs), 0
            try:
                self._start, output, size = coder.run(self._piece, self._start, _PIECE)
            except SteelyardError:
                if not self._outputs:
                    raise
                break  # first the output before the damage: the coder raises the same error at its next call
            self._full = size == _PIECE
            if size:
                self._outputs.append(memoryview(output)[:size])

    async def _begin(self) -> None:
        """Identify the format; a head in several pieces is joined."""
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
            self._coder = Decompressor(self._format, ratio=self._ratio, memory=_MEMORY)


def _joined(pieces: deque[Buffer]) -> Buffer:
    """Take the next piece, or several small ones as one of at most `_PIECE` bytes."""
    first = pieces.popleft()
    size = memoryview(first).nbytes
    if size >= _JOIN_BELOW:
        return first
    parts = [first]
    while pieces and (size := size + memoryview(pieces[0]).nbytes) <= _PIECE:
        parts.append(pieces.popleft())
    return b"".join(parts)


@final
class Compressed(_Coded):
    """A compressed stream: the same bytes, format and level give the same output on every machine.

    The size of the pieces does not matter. A release may use a newer version of a library with different output; the changelog
    says so.

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
            output = bytearray(_PIECE)
            self._start, size = await calls.run(self._coder.run, self._piece, self._start, output)
            self._full = size == len(output)
            if size:
                return memoryview(output)[:size]
        if not self._full:
            return None
        output = bytearray(_PIECE)
        filled = await calls.run(self._coder.finish, output)
        self._full = filled == len(output)
        return memoryview(output)[:filled] if filled else None
