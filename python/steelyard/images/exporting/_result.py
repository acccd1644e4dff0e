"""The result of an export."""

from __future__ import annotations

from typing import Literal

import msgspec

from steelyard.images.documents import OCIDescriptor
from steelyard.images.platforms import Platform

__all__ = ("Exported", "ExportedBlob", "ExportedImage")


class ExportedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One root of an export.

    Attributes:
        name: the image name, or None for a manifest that was given by its digest.
        target: the root, as an entry of the target's index.
    """

    name: str | None
    target: OCIDescriptor


class ExportedBlob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One blob of an export.

    Attributes:
        descriptor: its descriptor.
        status: ``written``; ``present`` if the target had it; ``skipped`` if it is a non-distributable layer that was left
            out; ``absent`` if it is not stored and missing blobs are allowed.
        parent: the digest of a document that names it, or None.
        platform: its platform, or None.
    """

    descriptor: OCIDescriptor
    status: Literal["written", "present", "skipped", "absent"]
    parent: str | None = None
    platform: Platform | None = None


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an export.

    Attributes:
        images: the roots, sorted by name, those without a name last.
        blobs: all blobs of the images, each once, in the order of the target.
        size: bytes of the archive before compression; for other targets, bytes of the blobs that were written.
        seconds: the time of the export, in seconds.
    """

    images: tuple[ExportedImage, ...]
    blobs: tuple[ExportedBlob, ...]
    size: int
    seconds: float
