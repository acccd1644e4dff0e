"""The interface of a source, and the names of blobs in an archive."""

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
    """An open source of images."""

    @property
    def provider(self) -> Provider | None:
        """Reads the blobs of the source before they are stored; None for a stream."""
        return None

    async def look(self) -> None:
        """Refuse a source that is not an archive or layout, if this can be seen without storing anything. No other method is called then.

        Raises:
            InvalidArchive, InvalidDocument, LimitExceeded: the source is not an archive or layout.
        """
        await self.contents()

    @abstractmethod
    async def contents(self) -> Contents:
        """Return the images. A stream stores all its blobs in this call."""

    @abstractmethod
    async def take(self, wanted: Collection[Digest] | None) -> None:
        """Store the wanted blobs, or all."""


def blob_of(entry: Entry) -> Digest | None:
    """Return the digest in the name of a layout's entry; None if it is not a blob.

    Raises:
        InvalidArchive: the entry is among the blobs, but its name is not a digest that a store computes.
    """
    parts = entry.name.split("/")
    if entry.kind != "regular" or len(parts) != 3 or parts[0] != BLOBS:
        return None
    try:
        return Digest.parse(f"{parts[1]}:{parts[2]}")
    except InvalidDigest as error:
        raise InvalidArchive(entry.name, expected="a name that is a digest", actual=str(error)) from None
