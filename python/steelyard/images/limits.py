"""Bounds on images and archives from outside."""

from __future__ import annotations

import msgspec

from steelyard.errors import InvalidArgument

__all__ = ("DEFAULT_LIMITS", "Limits")

_DEPTH = 120
"""The greatest depth that the JSON reader supports."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on images and archives from outside; none of them bounds the size of a blob.

    Exceeding a limit raises `LimitExceeded` with the name of the field.

    Attributes:
        json_bytes: bytes of one JSON document: a manifest, an index, a config. A document of exactly this size is allowed.
        depth: nesting of JSON values.
        entries: entries of an archive.
        header_bytes: bytes of the headers of one archive entry, including PAX records and long names.
        ratio: the ratio of decompressed to compressed bytes of an archive before its first document is read.
        nesting: nesting of documents: an index in an index.
        nodes: documents and blobs of one image, each counted once. It also bounds the repeated visits to the children of documents
            that several images of an import or export share; such visits happen if blobs of these images are missing.
        labels: labels from annotations of an image.

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
