"""Reading a stream ahead: the next pieces are received and decompressed while the last ones are stored."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Self

import anyio
from anyio import EndOfStream
from anyio.abc import ObjectReceiveStream, ObjectSendStream

from steelyard._runtime.scopes import managed, task_group
from steelyard.model import Buffer

__all__ = ("read_ahead",)

_PIECES = 4
"""Pieces that wait, of 1 MiB each unless the source cuts them."""


@managed
async def read_ahead(source: AsyncIterable[Buffer]) -> AsyncIterator[AsyncIterable[Buffer]]:
    """Give the source, which another task reads ahead. A piece remains valid when the next is requested.

    An error of the source is raised in place of its next piece.
    """
    send, receive = anyio.create_memory_object_stream[Buffer](_PIECES)
    pieces = _Pieces(receive)
    async with task_group() as tasks, receive:
        tasks.start_soon(_read, source, send, pieces)
        yield pieces
        tasks.cancel_scope.cancel()


async def _read(source: AsyncIterable[Buffer], send: ObjectSendStream[Buffer], pieces: _Pieces) -> None:
    async with send:
        try:
            async for piece in source:
                await send.send(piece)
        except Exception as error:  # noqa: BLE001  # raised by the reader of the pieces
            pieces.failure = error


class _Pieces:
    """The pieces that were read.

    Attributes:
        failure: the error that the source raised in place of the next piece.
    """

    def __init__(self, receive: ObjectReceiveStream[Buffer]) -> None:
        self.failure: Exception | None = None
        self._receive = receive

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        try:
            return await self._receive.receive()
        except EndOfStream:
            if self.failure is not None:
                raise self.failure from None
            raise StopAsyncIteration from None
