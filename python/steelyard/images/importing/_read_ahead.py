"""Reading a stream ahead: the next pieces are received and decompressed while earlier pieces are stored."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import Self

import anyio
from anyio.lowlevel import checkpoint

from steelyard._runtime.scopes import managed, task_group
from steelyard.model import Buffer

__all__ = ("Ahead", "read_ahead")

_BYTES = 4 << 20
"""The source is read further while fewer bytes than this are waiting."""

_OBJECT = 1 << 10
"""The number of bytes that is added to the size of each piece, so that memory is also bounded for tiny pieces."""


@managed
async def read_ahead(source: AsyncIterable[Buffer]) -> AsyncIterator[Ahead]:
    """Yield the source, which another task reads ahead. A piece stays valid when the next one is requested.

    An error of the source is raised in place of its next piece.
    """
    pieces = Ahead()
    async with task_group() as tasks:
        tasks.start_soon(pieces.fill, source)
        yield pieces
        tasks.cancel_scope.cancel()


class Ahead:
    """The pieces that were read."""

    def __init__(self) -> None:
        self._pieces: deque[Buffer] = deque()
        self._bytes = 0
        self._ended = False
        self._failure: Exception | None = None
        self._change = anyio.Event()  # the task waits for room, or the reader for a piece: never both

    async def fill(self, source: AsyncIterable[Buffer]) -> None:
        """Read the source to its end or its error."""
        try:
            async for piece in source:
                self._pieces.append(piece)
                self._bytes += _size(piece)
                self._change.set()
                await checkpoint()
                while self._bytes >= _BYTES:
                    await self._wait()
        except Exception as error:  # noqa: BLE001  # raised by the reader of the pieces
            self._failure = error
        self._ended = True
        self._change.set()

    def ready(self) -> list[Buffer]:
        """Take the pieces that have been read, perhaps none."""
        taken = list(self._pieces)
        self._pieces.clear()
        self._bytes = 0
        self._change.set()
        return taken

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        while not self._pieces:
            if self._failure is not None:
                raise self._failure from None
            if self._ended:
                raise StopAsyncIteration
            await self._wait()
        piece = self._pieces.popleft()
        self._bytes -= _size(piece)
        self._change.set()
        return piece

    async def _wait(self) -> None:
        self._change = anyio.Event()
        await self._change.wait()


def _size(piece: Buffer) -> int:
    return memoryview(piece).nbytes + _OBJECT
