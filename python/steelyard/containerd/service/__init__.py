"""A store behind containerd's content protocol: `Server`.

docs/containerd.md describes the services and their rules. `rust/service` implements them; no call of a `LocalStore` passes through Python.

| Module | Owns |
| --- | --- |
| `_server` | the start and the end of the server |
| `_socket` | the path of the socket |
| `_notes` | the log of the native server |
| `_metrics` | the page with its metrics |
| `_loop_store`, `_codes` | stores that need their event loop, and their errors |
"""

from __future__ import annotations

import logging

from steelyard.containerd._address import parse_address as parse_address
from steelyard.containerd.service._server import Server as Server

__all__ = ("Server", "parse_address")

Server.__module__ = __name__
logging.getLogger("steelyard.containerd").addHandler(logging.NullHandler())  # silent, unless a program adds a handler
