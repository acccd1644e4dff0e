"""A store with some blobs hidden: those that an archive has outside its directory of blobs."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from steelyard._runtime.opening import opening
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.errors import NotFound
from steelyard.images.check import ImageCheck
from steelyard.model import Descriptor

__all__ = ("Without",)


class Without(Provider):
    """A provider that hides some blobs of another one.

    Args:
        provider: the other provider.
        hidden: the hidden blobs.
    """

    def __init__(self, provider: Provider, hidden: Iterable[Digest]) -> None:
        self._provider = provider
        self._hidden = set(hidden)

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Open a blob that is not hidden."""
        digest = Descriptor.of(blob).digest
        if digest in self._hidden:
            raise NotFound(digest)
        return await self._provider.reader_at(digest)

    def admit(self, digests: Iterable[Digest | None]) -> None:
        """Stop hiding these blobs."""
        self._hidden.difference_update(digests)

    def without(self, found: ImageCheck) -> ImageCheck:
        """Return the check with the hidden blobs among the absent ones."""
        hidden = {str(digest) for digest in self._hidden}
        gone = tuple(node for node in found.present if node.descriptor.digest in hidden)
        if not gone:
            return found
        kept = tuple(node for node in found.present if node.descriptor.digest not in hidden)
        return msgspec.structs.replace(found, present=kept, absent=(*found.absent, *gone))
