"""What every kind of source does for an import, and where the blobs of an archive stand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from steelyard._archive import Entry
from steelyard.content import Provider
from steelyard.digest import Digest
from steelyard.errors import InvalidArchive, InvalidDigest
from steelyard.images.importing._naming import Contents
from steelyard.images.layout._names import BLOBS

__all__ = ("ImageSource", "blob_of")


class ImageSource(ABC):
    """A source of images, open."""

    @property
    def provider(self) -> Provider | None:
        """What reads the source's blobs before they are taken; None for a stream."""
        return None

    @abstractmethod
    async def contents(self) -> Contents:
        """Return what images there are. A stream takes all its blobs on the way there."""

    @abstractmethod
    async def take(self, wanted: Collection[Digest] | None) -> None:
        """Store the blobs that are wanted, or all."""


def blob_of(entry: Entry) -> Digest | None:
    """Return the digest that an entry of a layout has to have by its name; None for what is no blob.

    Raises:
        InvalidArchive: it stands among the blobs, but its name is no digest that a store computes.
    """
    parts = entry.name.split("/")
    if entry.kind != "regular" or len(parts) != 3 or parts[0] != BLOBS:
        return None
    try:
        return Digest.parse(f"{parts[1]}:{parts[2]}")
    except InvalidDigest as error:
        raise InvalidArchive(entry.name, expected="a name that is a digest", found=str(error)) from None
