"""Paths of files that the server itself sends. The files are protected until the server has opened them."""

from __future__ import annotations

import time
from datetime import timedelta
from weakref import WeakKeyDictionary

import anyio

from steelyard.content import Provider
from steelyard.digest import Digest
from steelyard.errors import NotFound
from steelyard.leases import new_lease
from steelyard.local import LocalStore
from steelyard.model import Labels

__all__ = ("path_for_server",)

_LEASE = timedelta(minutes=15)
"""The time after which a lease ends by itself."""

_RENEWED_SECONDS = 300
"""The age of a lease after which the next path gets a new one. So each path is protected for at least ten minutes. A server opens the file
within milliseconds, and an open file can be read to its end."""

_BLOBS = 10_000
"""The most blobs in one lease. Further blobs get a new lease."""

_protected: WeakKeyDictionary[object, _Paths] = WeakKeyDictionary()
"""The paths of each blocking store (`LocalStore.direct`). A closed store has ended its leases, and has another blocking store when it is
opened again."""


class _Paths:
    """The paths in the present lease of a store.

    A server opens the file at an unknown time after `send` has returned. So a lease protects the blob from garbage collection.
    All responses of a store share the lease, because a lease for each of them would need a transaction on the disk for each.
    """

    def __init__(self) -> None:
        self.lease = ""
        self.renewed = time.monotonic() + _RENEWED_SECONDS
        self.is_leased = False
        self.lock = anyio.Lock()
        self.paths: dict[Digest, str] = {}

    @property
    def is_old(self) -> bool:
        return time.monotonic() >= self.renewed or len(self.paths) >= _BLOBS


async def path_for_server(store: Provider, digest: Digest) -> str | None:
    """Return the path of a blob's file for a server that sends it, and protect the file by a lease of the store.

    The lease ends with the process or the store, or by itself after `_LEASE`.

    Returns:
        The path; or None if the store has no files, has no leases because it is open read-only, or does not have the blob.
    """
    if not isinstance(store, LocalStore) or store.read_only:
        return None
    opened = store.direct()
    paths = _protected.get(opened)
    if paths is None or paths.is_old:
        paths = _protected[opened] = _Paths()
    path = paths.paths.get(digest)
    if path is None:
        async with paths.lock:
            if not paths.is_leased:
                # CANCEL: the lease may have been created. It ends by itself, and the next call creates another one.
                paths.lease = new_lease()
                await store._begin_lease(paths.lease, Labels(), _LEASE)  # noqa: SLF001  # a hook of the interface
                paths.is_leased = True
        try:
            await store.leases.add(paths.lease, digests=(digest,))
            path = paths.paths[digest] = str(await store.path_of(digest))
        except NotFound:
            _protected.pop(opened, None)
            return None
    return path
