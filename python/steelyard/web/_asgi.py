"""The types of ASGI 3, so that the package needs no framework and no server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

__all__ = ("ASGIApp", "Message", "Receive", "Scope", "Send")

Scope: TypeAlias = MutableMapping[str, Any]
"""A connection: for HTTP its method, path, headers and extensions."""

Message: TypeAlias = MutableMapping[str, Any]
"""An event, for example ``http.request`` or ``http.response.body``."""

Receive: TypeAlias = Callable[[], Awaitable[Message]]
"""Waits for the next event from the client."""

Send: TypeAlias = Callable[[Message], Awaitable[None]]
"""Sends an event to the client."""

ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An application, as ASGI 3 calls it."""
