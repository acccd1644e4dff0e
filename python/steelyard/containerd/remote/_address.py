"""Where a server is: a Unix socket, and what else a call needs to say."""

from __future__ import annotations

import os
import re
from pathlib import Path

from steelyard.errors import InvalidArgument

__all__ = ("check_lease", "socket_path")

_PATH_LIMIT = 107
"""The most bytes that the path of a Unix socket may have on Linux."""

_LEASE = re.compile(r"[!-~]{1,1024}", re.ASCII)


def socket_path(address: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a Unix socket given as a path, ``unix:PATH`` or ``unix:///PATH``.

    Raises:
        InvalidArgument: it is not an address, or too long for a socket.
    """
    text = os.fspath(address)
    path = text.removeprefix("unix:")
    if path.startswith("//"):
        path = "/" + path.lstrip("/") if path.startswith("///") else ""
    if not path or "\0" in path or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path):
        raise InvalidArgument(f"address {text!r}: expected the path of a Unix socket, or unix:// and the path")
    found = Path(path).absolute()
    size = len(os.fsencode(found))
    if size > _PATH_LIMIT:
        raise InvalidArgument(f"address {text!r}: expected a path of at most {_PATH_LIMIT} bytes, found {size}")
    return found


def check_lease(lease: str | None) -> str | None:
    """Return the id of a lease, if it can be sent as one."""
    if lease is not None and not _LEASE.fullmatch(lease):
        raise InvalidArgument(f"lease {lease[:100]!r}: expected printable ASCII without spaces")
    return lease
