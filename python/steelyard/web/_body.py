"""The bytes of a response: read from a blob, and sent as fast as the client takes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import anyio
from anyio import EndOfStream

from steelyard._runtime.scopes import task_group
from steelyard.content import ReaderAt
from steelyard.errors import DataCorrupt
from steelyard.web._asgi import Message, Receive, Send
from steelyard.web._ranges import ByteRange
from steelyard.web._verified import PIECE_BYTES

__all__ = ("BUFFERED_BYTES", "multipart", "part", "respond", "send_all")

BUFFERED_BYTES = PIECE_BYTES
"""The largest body that is read, and verified if it is a whole blob, before anything is sent."""

_READ_AHEAD = 1
"""The pieces that wait to be sent. Three further pieces are in memory: one is being read, one is being sent, and one is held back."""


async def part(reader: ReaderAt, wanted: ByteRange) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a range, unverified."""
    left = wanted.stop - wanted.start
    if left <= BUFFERED_BYTES:
        if left:
            yield await reader.read_at(wanted.start, left)
        return
    async with reader.read_from(wanted.start) as stream:
        while left:
            try:
                piece = await stream.receive(min(left, PIECE_BYTES))
            except EndOfStream:
                raise DataCorrupt(reader.digest, expected=f"{left} bytes more", actual="its end") from None
            left -= len(piece)
            yield piece


async def multipart(
    reader: ReaderAt, parts: Sequence[tuple[bytes, ByteRange]], end: bytes
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of several ranges, each after its header, and then the closing boundary."""
    for header, wanted in parts:
        yield header
        async with aclosing(part(reader, wanted)) as pieces:
            async for piece in pieces:
                yield piece
    yield end


async def respond(receive: Receive, send: Send, start: Message, body: AsyncGenerator[bytes, None], length: int) -> None:
    """Send a response. Return when it is sent, or when the client has disconnected.

    The last piece is sent after the body has ended. So if the body raises an error at its end, because the blob is damaged, the response is
    incomplete: the client sees fewer bytes than Content-Length. A body of up to `BUFFERED_BYTES` bytes raises it before the headers are sent.

    Args:
        receive: receives the events from the client.
        send: sends an event to the client.
        start: the event with status and headers.
        body: the bytes. The generator is closed.
        length: the number of bytes.
    """
    if length > BUFFERED_BYTES:
        await _send_while_reading(receive, send, start, body)
        return
    async with aclosing(body):
        pieces = [piece async for piece in body]
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    await send_all(send, start, data)


async def send_all(send: Send, start: Message, data: bytes) -> None:
    """Send a response whose body is in memory."""
    if await _sent(send, start):
        await _sent(send, {"type": "http.response.body", "body": data})


async def _send_while_reading(receive: Receive, send: Send, start: Message, body: AsyncGenerator[bytes, None]) -> None:
    into, messages = anyio.create_memory_object_stream[Message](_READ_AHEAD)

    async def read() -> None:
        message = start
        # `into` is closed without an await: an error of the body must leave this task before the other task sees the end of the messages.
        with into:
            async with aclosing(body):
                async for piece in body:
                    await into.send(message)
                    message = {"type": "http.response.body", "body": piece, "more_body": True}
                await into.send({**message, "more_body": False})

    async def watch() -> None:
        # Not every server raises an error from `send` when the client has disconnected. Then the whole blob would be read in vain.
        while (await receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel()

    async with task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(watch)
        with messages:
            async for message in messages:
                if not await _sent(send, message):
                    break
        tasks.cancel_scope.cancel()


async def _sent(send: Send, message: Message) -> bool:
    """Send an event, and return False if the client has disconnected."""
    try:
        await send(message)
    except OSError:
        return False
    return True
