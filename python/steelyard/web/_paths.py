"""Files that a server sends by itself: their paths, protected until it has opened them."""

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
"""A lease ends by itself after this time."""

_RENEWED_SECONDS = 300
"""A new lease is made for the first path after this time. So each path is protected for ten minutes: a server opens the file within
milliseconds, and a file that is open can be read to its end."""

_BLOBS = 10_000
"""The most blobs in one lease; after that a new one is made."""

_protected: WeakKeyDictionary[object, _Paths] = WeakKeyDictionary()
"""By the blocking store (`LocalStore.direct`): a store that is closed has ended its leases, and has another one when it is opened again."""


class _Paths:
    """The paths in the present lease of a store.

    A server opens the file after `send` has returned, and does not say when. So a lease protects the blob from garbage collection.
    It is shared by all responses of a store: a lease for each of them would be a transaction on the disk for each.
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
    """Return the path of a blob's file for a server that sends it, under a lease of the store.

    The lease ends with the process or the store, and by itself after some minutes.

    Returns:
        None: the store has no files, or was opened read-only and so has no leases, or the blob is not stored.
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
                # CANCEL: the lease may have been made; it ends by itself, and the next call makes another one.
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
