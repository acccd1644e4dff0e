"""What an export did."""

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
        target: the root, as the index of the target names it.
    """

    name: str | None
    target: OCIDescriptor


class ExportedBlob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One blob of an export.

    Attributes:
        descriptor: what names it.
        status: ``written``; ``present`` where the target had it already; ``skipped`` where it was left out as its layer may
            not be passed on; ``absent`` where it is not stored and the caller allows holes.
        parent: the digest of a document that names it, or None.
        platform: what it is for, or None.
    """

    descriptor: OCIDescriptor
    status: Literal["written", "present", "skipped", "absent"]
    parent: str | None = None
    platform: Platform | None = None


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an export.

    Attributes:
        images: the roots, ordered by name, those without one last.
        blobs: all blobs of the images, each once, in the order of the target.
        size: bytes of the archive before it is compressed; of other targets, those of the blobs that were written.
        seconds: how long it took.
    """

    images: tuple[ExportedImage, ...]
    blobs: tuple[ExportedBlob, ...]
    size: int
    seconds: float
