"""The calls that read-only commands need of a store. For a store on this machine's disk they need no event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Protocol

from steelyard.digest import Digest
from steelyard.local.blocking import BlockingNames, BlockingStore
from steelyard.model import Image, Info, Status

__all__ = ("Listing", "ListingHere", "Names", "Walked")


class Walked(Protocol):
    """Lists blobs; a `Manager` is one."""

    def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over matching blobs; see `Manager.walk`."""
        ...


class Names(Protocol):
    """Lists image names; an `ImageNames` is one."""

    async def list(self, *filters: str) -> list[Image]:
        """Return the matching names; see `ImageNames.list`."""
        ...


class Listing(Walked, Protocol):
    """The calls of a `Store` that change nothing and need no reader; every `Store` has them."""

    @property
    def images(self) -> Names:
        """The image names."""
        ...

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the infos of the stored digests; see `Store.infos`."""
        ...

    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the matching ingests; see `IngestManager.list_statuses`."""
        ...


class ListingHere:
    """The blocking core of a store as a `Listing`: its calls run in the calling thread, and never suspend.

    Args:
        store: the store.
        before_page: called before each page of `walk`, which may take long, to write the results so far.
    """

    def __init__(self, store: BlockingStore, before_page: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._before_page = before_page

    @property
    def images(self) -> Names:
        """The image names."""
        return _NamesHere(self._store.images)

    async def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over matching blobs."""
        pages = self._store.pages(*filters)
        while infos := pages.next():
            for info in infos:
                yield info
            await self._before_page()

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        """Return the infos of the stored digests."""
        return self._store.infos([Digest.parse(digest) for digest in digests])

    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the matching ingests."""
        return self._store.statuses(*filters)


class _NamesHere:
    def __init__(self, names: BlockingNames) -> None:
        self._names = names

    async def list(self, *filters: str) -> list[Image]:
        return self._names.list(*filters)
