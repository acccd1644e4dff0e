"""The application that the servers of these tests run. The variables STORE and LIMITS configure it."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from steelyard import LocalStore
from steelyard.web import Message, Receive, Scope, Send
from steelyard.web.uploads import Upload, Uploads

store = LocalStore(os.environ["STORE"])
limits: dict[str, Any] = json.loads(os.environ.get("LIMITS", "{}"))
times: dict[str, Any] = {
    name: timedelta(seconds=limits.pop(name)) for name in ("stalled_after", "abandoned_after") if name in limits
}


async def on_complete(upload: Upload) -> None:
    """Give the blob a name."""
    await store.images.assign({f"files/{upload.id}": upload.descriptor}, overwrite=True)


uploads = Uploads(store, on_complete=on_complete, **times, **limits)


async def drop(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body of each request and throw it away: the most that a server can do."""
    if scope["type"] == "lifespan":
        await uploads(scope, receive, send)
        return
    while True:
        message: Message = await receive()
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
