"""The components of an open store."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from steelyard._archive._references import DOCUMENT_LIMIT
from steelyard._runtime.calls import run
from steelyard.errors import NotFound
from steelyard.events import EventSource
from steelyard.local import LocalStore
from steelyard.model import Info
from steelyard.objects._blobs import Blobs
from steelyard.objects._cache import Cache
from steelyard.objects._collection import Collection
from steelyard.objects._documents import register
from steelyard.objects._layout import IMAGES
from steelyard.objects._leases import ObjectLeases
from steelyard.objects._names import ObjectImageNames
from steelyard.objects._puts import Puts
from steelyard.objects._records import Records
from steelyard.objects._requests import Requests
from steelyard.objects._uploads import ONE_REQUEST_BYTES, Sealed, Uploads
from steelyard.objects._values import NameValue
from steelyard.objects._verify import Verification
from steelyard.objects._watch import Watch
from steelyard.options import CommitOptions

__all__ = ("Components",)


class Components:
    """The components of an open store.

    Attributes:
        is_closed: whether the store was closed. Its stores with a lease share the components.
    """

    is_closed = False

    def __init__(
        self, root: Path, spool: LocalStore, requests: Requests, events: EventSource, cache: Cache | None
    ) -> None:
        self.spool, self.requests, self.cache = spool, requests, cache
        self.uploads = Uploads(requests, root / "uploads")
        self.verification = Verification(root / "verified")
        watch = Watch(requests)
        self.blobs = Blobs(requests, watch, events, cache)
        self.puts = Puts(requests, self.blobs, watch, events)
        self.names = ObjectImageNames(Records(requests, IMAGES, NameValue), watch, events)
        self.leases = ObjectLeases(requests, watch, events)
        self.collection = Collection(requests, watch, self.blobs, self.names, self.leases, spool, self.uploads)

    async def commit(self, sealed: Sealed, options: CommitOptions) -> Info | None:
        """Make sealed bytes a blob, and return its info, or None if it is stored already."""
        if sealed.size <= ONE_REQUEST_BYTES:
            return await self.puts.store(sealed.digest, await run(sealed.read), options.labels)

        async def write() -> Info | None:
            try:
                there = await self.blobs.look(sealed.digest)
            except NotFound:
                await self.blobs.announce(sealed.digest, options.labels)
                found = await self.uploads.send(sealed)
                return await self.blobs.added(sealed.digest, sealed.size, options.labels, found)
            if not there.is_ours or there.size != sealed.size:
                await self.blobs.replace(sealed.digest, partial(self.uploads.send, sealed))
            return None

        async def note_names() -> bool:
            if sealed.size > DOCUMENT_LIMIT:
                return False
            return await register(self.requests, sealed.digest, await run(sealed.read))

        return await self.blobs.publish(sealed.digest, write, note_names)
