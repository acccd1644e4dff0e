"""The nodes of an image: each blob with its place in the image."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from steelyard.images.documents import AnyDocument, ImageConfig, Index, Manifest, OCIDescriptor
from steelyard.images.platforms import Platform

__all__ = ("Key", "Node", "has_children", "key_of", "named_by", "view_of")

Key: TypeAlias = tuple[str, int, str]
"""Digest, size and media type: descriptors with equal keys name the same document."""


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A blob of an image and its place in the image.

    Attributes:
        descriptor: the descriptor of the blob.
        parent: the descriptor of the document that names the blob, or None for the root.
        platform: the platform that the nearest index gives, or None.
        depth: the number of documents above the blob.
        document: the parsed index or manifest, if it was read, or None.
        missing: whether this is an index or a manifest that is not stored, so that its children are unknown. No other blob
            is looked up in the store.
    """

    descriptor: OCIDescriptor
    parent: OCIDescriptor | None = None
    platform: Platform | None = None
    depth: int = 0
    document: AnyDocument | None = None
    missing: bool = False


def key_of(descriptor: OCIDescriptor) -> Key:
    """Return the key of the document that the descriptor names."""
    return descriptor.digest, descriptor.size, descriptor.media_type


def has_children(descriptor: OCIDescriptor) -> bool:
    """Return whether the descriptor names a document that names others."""
    return descriptor.kind in {"index", "manifest"}


def view_of(node: Node) -> Index | Manifest | ImageConfig | None:
    """Return the view of a node's document, or None if it was not read."""
    return None if node.document is None else node.document.view


def named_by(document: AnyDocument) -> tuple[OCIDescriptor, ...]:
    """Return the descriptors in an index or a manifest, in their order; nothing for any other document."""
    return document.view.children if isinstance(document.view, Index | Manifest) else ()
