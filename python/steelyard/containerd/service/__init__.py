"""A store behind containerd's content protocol: `Server`.

It needs the extra ``grpc``. docs/containerd.md says what is served and by which rules.

| Module | Owns |
| --- | --- |
| `_server` | the server's life |
| `_interceptor`, `_call` | what every call goes through: the end of idle calls, errors, log |
| `_content`, `_write`, `_images`, `_standard` | the services |
| `_messages`, `_codes` | values and errors as they go over the wire |
| `_last_message` | the last response of a stream and its end, sent at once |
| `_socket` | the path of the socket |
| `_metrics` | what is counted |
| `_loop_store` | stores that need their event loop |
"""

from __future__ import annotations

import logging

try:
    import grpc as _grpc  # noqa: F401 - only to say what to install
    import prometheus_client as _prometheus_client  # noqa: F401
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"steelyard.containerd needs the package {_error.name}: pip install 'steelyard[grpc]'", name=_error.name
    ) from _error

from steelyard.containerd.service._server import Server as Server
from steelyard.containerd.service._socket import parse_address as parse_address

__all__ = ("Server", "parse_address")

Server.__module__ = __name__
logging.getLogger("steelyard.containerd").addHandler(logging.NullHandler())  # silent, unless a program adds a handler
