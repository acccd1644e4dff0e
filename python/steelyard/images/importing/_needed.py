"""What belongs to any of several images."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing, suppress

from steelyard.content import Provider
from steelyard.digest import Digest
from steelyard.errors import InvalidDigest
from steelyard.images._visited import Visited
from steelyard.images.choose import Platforms
from steelyard.images.documents import OCIDescriptor
from steelyard.images.graph import walk_one_of
from steelyard.images.limits import Limits

__all__ = ("needed",)


async def needed(
    provider: Provider, roots: Iterable[OCIDescriptor], platforms: Platforms | None, limits: Limits
) -> set[Digest]:
    """Return the digests of all that belongs to the images, as far as their documents are there."""
    found: set[Digest] = set()
    visited = Visited(limits)
    for root in {root.digest: root for root in roots}.values():
        walk = walk_one_of(provider, root, platforms=platforms, limits=limits, visited=visited)
        documents = []
        async with aclosing(walk) as nodes:
            async for node in nodes:
                if node.document is not None:
                    documents.append(node)
                with suppress(InvalidDigest):  # of an algorithm that no store computes
                    found.add(node.descriptor.blob)
        # What is below them is counted now, whether it is there or not.
        visited.add(documents)
    return found
