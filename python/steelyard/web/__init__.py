"""Blobs over HTTP: plain ASGI 3, for any server and any framework, on asyncio and trio."""

from __future__ import annotations

from steelyard.web._asgi import ASGIApp, Message, Receive, Scope, Send

__all__ = ("ASGIApp", "Message", "Receive", "Scope", "Send")
