"""Blobs over HTTP: plain ASGI 3, for any server and any framework, on asyncio and trio.

`BlobResponse` answers GET and HEAD. It needs no framework; `steelyard.web.starlette` has it as a response of Starlette and FastAPI.
"""

from __future__ import annotations

from steelyard.web._asgi import ASGIApp, Message, Receive, Scope, Send
from steelyard.web._lifespan import lifespan
from steelyard.web._response import BlobResponse

__all__ = ("ASGIApp", "BlobResponse", "Message", "Receive", "Scope", "Send", "lifespan")
