"""Requests whose bytes are sent by hand, to stop in the middle of one."""

from __future__ import annotations

import socket

from support.asgi_servers import AsgiServer

from .clients import curl

__all__ = ("begun", "created")


def created(server: AsgiServer, length: int) -> str:
    """Create an upload, and return its location."""
    response = curl("-X", "POST", "-H", f"Upload-Length: {length}", f"{server.url}/")
    assert 201 == response.status, response.text
    return response.headers["location"]


def begun(server: AsgiServer, location: str, offset: int, size: int, fields: str = "") -> socket.socket:
    """Send the head of a PATCH, and return the connection."""
    connection = server.connect()
    head = (
        f"PATCH /{location} HTTP/1.1\r\nHost: server\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n{fields}"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection
