"""The blobs of several images."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing, suppress

from steelyard.digest import Digest
from steelyard.errors import InvalidDigest
from steelyard.images._visited import Visited
from steelyard.images.choose import Platforms
from steelyard.images.documents import OCIDescriptor
from steelyard.images.graph import walk_one_of
from steelyard.images.read import DocumentReader

__all__ = ("needed",)


async def needed(
    reader: DocumentReader, roots: Iterable[OCIDescriptor], platforms: Platforms | None, *, last: bool = False
) -> set[Digest]:
    """Return the digests of all blobs of the images, as far as their documents are stored.

    Args:
        reader: reads the documents.
        roots: the images.
        platforms: count only the manifests of an index for these; None: all.
        last: whether the documents are not needed again.
    """
    found: set[Digest] = set()
    visited = Visited(reader.limits)
    for root in {root.digest: root for root in roots}.values():
        walk = walk_one_of(reader, root, platforms=platforms, visited=visited)
        documents = []
        async with aclosing(walk) as nodes:
            async for node in nodes:
                if node.document is not None:
                    documents.append(node)
                with suppress(InvalidDigest):  # no store computes its algorithm
                    found.add(node.descriptor.blob)
        # All blobs below them are counted now, whether they are stored or not.
        visited.add(documents)
        if last:
            reader.forget(node.descriptor for node in documents)
    return found
