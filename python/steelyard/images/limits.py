"""How much an image from outside may ask of us."""

from __future__ import annotations

import msgspec

from steelyard.errors import InvalidArgument

__all__ = ("DEFAULT_LIMITS", "Limits")

_DEPTH = 120
"""What the JSON reader can hold; deeper limits would be promises that it cannot keep."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what images and archives from outside may hold; none of them bounds the size of a blob.

    Whatever goes over one raises `LimitExceeded` with the name of the field.

    Attributes:
        json_bytes: bytes of one JSON document: a manifest, an index, a config. Exactly that many are fine.
        depth: JSON values within JSON values.
        entries: entries of an archive.
        header_bytes: bytes of one archive entry's headers, PAX records and long names among them.
        ratio: how many times larger a compressed archive may become before its first document is read.
        nesting: documents within documents: an index in an index.
        nodes: documents and blobs of one image, each counted once. Also, of several images in one import or export, how often
            what a shared document names is looked at again, which happens where something of the images is missing.
        labels: labels that annotations of an image become.

    Raises:
        InvalidArgument: a limit is below 1, or `depth` is over 120.
    """

    json_bytes: int = 4 << 20
    depth: int = 100
    entries: int = 1_000_000
    header_bytes: int = 1 << 20
    ratio: int = 1000
    nesting: int = 16
    nodes: int = 1_000_000
    labels: int = 1000

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value < 1:
                raise InvalidArgument(f"limit {field}: expected at least 1, found {value}")
        if self.depth > _DEPTH:
            raise InvalidArgument(f"limit depth: expected at most {_DEPTH}, found {self.depth}")


DEFAULT_LIMITS = Limits()
