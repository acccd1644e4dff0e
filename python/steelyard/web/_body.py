"""The bytes of a response: read from a blob, and sent as fast as the client takes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from anyio import EndOfStream

from steelyard._runtime.scopes import task_group
from steelyard.content import ReaderAt
from steelyard.errors import DataCorrupt
from steelyard.web._asgi import Message, Receive, Send
from steelyard.web._ranges import ByteRange

__all__ = ("AT_ONCE", "multipart", "part", "respond", "whole")

AT_ONCE = 1 << 20
"""A body of up to so many bytes is read, and verified if it is a whole blob, before anything is sent."""

_PIECE = 256 << 10
"""A larger body is read and sent in pieces of so many bytes: a `LocalStore` reads so many from the page cache without a hop."""


async def whole(reader: ReaderAt) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a blob. The generator ends, and does not raise DataCorrupt, only if they match the digest."""
    async with reader.stream() as stream:
        while True:
            try:
                piece = await stream.receive(AT_ONCE)
            except EndOfStream:
                return
            yield piece


async def part(reader: ReaderAt, wanted: ByteRange) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a range, unverified."""
    left = wanted.stop - wanted.start
    if left <= AT_ONCE:
        if left:
            yield await reader.read_at(wanted.start, left)
        return
    async with reader.read_from(wanted.start) as stream:
        while left:
            try:
                piece = await stream.receive(min(left, _PIECE))
            except EndOfStream:
                raise DataCorrupt(reader.digest, expected=f"{left} bytes more", actual="its end") from None
            left -= len(piece)
            yield piece


async def multipart(
    reader: ReaderAt, parts: Sequence[tuple[bytes, ByteRange]], end: bytes
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of several ranges, each after its header, and the end."""
    for header, wanted in parts:
        yield header
        async with aclosing(part(reader, wanted)) as pieces:
            async for piece in pieces:
                yield piece
    yield end


async def respond(receive: Receive, send: Send, start: Message, body: AsyncGenerator[bytes, None], length: int) -> None:
    """Send a response.

    The last piece is sent after the body has ended. So a body that raises an error at its end, because the blob is damaged, is never
    complete: the client sees fewer bytes than Content-Length says. A body of up to `AT_ONCE` bytes raises it before the headers.

    Returns when all is sent, or when the client has gone.

    Args:
        receive: the events of the client.
        send: sends an event to the client.
        start: the event with status and headers.
        body: the bytes. It is closed.
        length: their number.
    """
    async with aclosing(body):
        if length <= AT_ONCE:
            pieces = [piece async for piece in body]
            await _send_pieces(send, start, pieces)
        else:
            # Servers do not tell a `send` that the client has gone: without this, all of the blob would be read in vain.
            async with task_group() as tasks:

                async def watch() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    tasks.cancel_scope.cancel()

                tasks.start_soon(watch)
                await _send_body(send, start, body)
                tasks.cancel_scope.cancel()


async def _send_pieces(send: Send, start: Message, pieces: list[bytes]) -> None:
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    try:
        await send(start)
        await send({"type": "http.response.body", "body": data})
    except OSError:  # the client has gone
        return


async def _send_body(send: Send, start: Message, body: AsyncGenerator[bytes, None]) -> None:
    held: bytes | None = None
    message = start
    async for piece in body:
        if held is not None:
            message = {"type": "http.response.body", "body": held, "more_body": True}
        try:
            await send(message)
        except OSError:  # the client has gone
            return
        held = piece
    try:
        await send({"type": "http.response.body", "body": held or b""})
    except OSError:
        return
