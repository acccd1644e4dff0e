"""An application for servers: each path has a way to serve and a digest.

The store is in the directory that `STEELYARD_TEST_STORE` names. `/pathsends` has the number of files that the server was told to send.
"""

from __future__ import annotations

import os

from steelyard import LocalStore
from steelyard.web import BlobResponse, Message, Receive, Scope, Send

store = LocalStore(os.environ["STEELYARD_TEST_STORE"])
pathsends = 0


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer ``/verified/<digest>`` and ``/unverified/<digest>``."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    way, _, digest = scope["path"].strip("/").partition("/")
    if way == "pathsends":
        text = b"%d" % pathsends
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
        await send({"type": "http.response.body", "body": text})
        return
    response = BlobResponse(
        store,
        digest,
        content_type="text/x-wool",
        filename="wool.txt",
        headers={"cache-control": "max-age=31536000, immutable"},
        verify=way != "unverified",
    )
    await response(scope, receive, counting(send))


def counting(send: Send) -> Send:
    """Count the files that a server sends by itself."""

    async def counted(message: Message) -> None:
        global pathsends  # noqa: PLW0603
        pathsends += message["type"] == "http.response.pathsend"
        await send(message)

    return counted


async def lifespan(receive: Receive, send: Send) -> None:
    """Open the store when the server starts, and close it when it stops."""
    await receive()
    async with store:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
