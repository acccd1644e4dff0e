"""The address of a service: the path of a Unix socket."""

from __future__ import annotations

import os
import re
from pathlib import Path

from steelyard.errors import InvalidArgument

__all__ = ("parse_address",)

_PATH_LIMIT = 107
"""The most bytes of a socket's path on Linux: the size of the path in `sockaddr_un`, without the NUL."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)


def parse_address(address: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a Unix socket given as a path, ``unix:PATH`` or ``unix:///PATH``.

    Write a path that looks like an address, such as ``a:b``, as ``./a:b``.

    Raises:
        InvalidArgument: the address is not valid, or too long for a socket.
    """
    text = os.fspath(address)
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        path = "/" + path.lstrip("/") if path.startswith("///") else ""
    if not path or "\0" in path or _SCHEME.match(path):
        raise InvalidArgument(f"address {text!r}: expected the path of a Unix socket, or unix:// and its absolute path")
    found = Path(path).absolute()
    try:
        size = len(os.fsencode(found))
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"address {text!r}: not a path: {error.reason}") from None
    if size > _PATH_LIMIT:
        raise InvalidArgument(f"address {text!r}: expected a path of at most {_PATH_LIMIT} bytes, found {size}")
    return found
