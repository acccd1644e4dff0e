"""Blobs over HTTP: plain ASGI 3, for any server and any framework, on asyncio and trio.

`BlobResponse` answers GET and HEAD. It needs no framework. `steelyard.web.starlette` has a variant that Starlette and FastAPI accept.
`Uploads` of `steelyard.web.uploads` receives files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard._lazy import exports as _exports
from steelyard.web._asgi import ASGIApp, Message, Receive, Scope, Send
from steelyard.web._lifespan import lifespan
from steelyard.web._response import BlobResponse

if TYPE_CHECKING:
    from steelyard.web.uploads import Upload, Uploads
else:
    __getattr__, __dir__ = _exports(__name__, {"steelyard.web.uploads": "Upload Uploads"})

__all__ = ("ASGIApp", "BlobResponse", "Message", "Receive", "Scope", "Send", "Upload", "Uploads", "lifespan")
