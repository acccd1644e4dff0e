"""Checking whether an image is complete, and how much space it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

import msgspec

from steelyard._runtime.chunks import slices
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import IncompleteImage, InvalidDigest
from steelyard.images._off_loop import short_slices
from steelyard.images._visited import Visited
from steelyard.images.choose import Platforms
from steelyard.images.documents import OCIDescriptor
from steelyard.images.graph import CONCURRENCY, read_all, walk_one_of
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.media_types import is_non_distributable
from steelyard.images.node import Node
from steelyard.images.platforms import Platform
from steelyard.images.read import DocumentReader, ParsedDocuments
from steelyard.model import Descriptor

__all__ = ("ImageCheck", "ImageUsage", "check", "usage")


class ImageCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check.

    Attributes:
        name: the image name, or the digest of the root.
        target: the root.
        present: the blobs that are stored with the expected size, in the order of `walk_image`.
        absent: the other blobs; the children of an absent document are unknown.
        unmatched: the requested platforms for which the image has no manifest.
    """

    name: str
    target: OCIDescriptor
    present: tuple[Node, ...]
    absent: tuple[Node, ...]
    unmatched: tuple[Platform, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all requested blobs are stored."""
        return not self.absent and not self.unmatched

    def require(self, *, foreign: bool = True) -> None:
        """Raise if blobs are missing.

        Args:
            foreign: whether non-distributable layers are required, too.

        Raises:
            IncompleteImage: blobs are absent; each is listed with its parent and its platform.
        """
        absent = [node for node in self.absent if foreign or not is_non_distributable(node.descriptor.media_type)]
        if absent:
            raise IncompleteImage(self.name, absent=tuple(_facts(node) for node in absent))


class ImageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The space that an image uses in a store, with each blob counted once.

    Attributes:
        name: the image name, or the digest of the root.
        blobs: the number of stored blobs.
        size: their bytes.
        absent: the number of known blobs that are not stored.
        absent_size: their bytes.
    """

    name: str
    blobs: int
    size: int
    absent: int
    absent_size: int


async def check(
    store: Store,
    image: str | Descriptor,
    *,
    platforms: Platforms | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ImageCheck:
    """Check for every blob of an image whether it is stored with its size. Only documents and configs are read.

    Args:
        store: the store.
        image: an image name, or a descriptor of its root.
        platforms: check only the manifests of an index for these; None: all.
        limits: bounds on the image.

    Raises:
        NotFound: there is no such name.
        InvalidDocument: a document of the image, or its config, is malformed.
        LimitExceeded: the image exceeds `limits`.
        DataCorrupt: the stored bytes of a document do not match its digest.
    """
    name = image if isinstance(image, str) else str(image.digest)
    target = (await store.images.get(image)).target if isinstance(image, str) else image
    return await check_target(store, name, target, DocumentReader(store, ParsedDocuments(limits)), platforms)


async def check_target(
    store: Store, name: str, target: Descriptor, reader: DocumentReader, platforms: Platforms | None
) -> ImageCheck:
    """Do the same as `check`, with a reader that keeps the documents."""
    root = await find_root(store, target, reader)
    found = await examine(store, reader, name, root, platforms=platforms)
    await check_configs(reader, found.present)
    return found


async def usage(
    store: Store,
    image: str | Descriptor,
    *,
    platforms: Platforms | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ImageUsage:
    """Count the blobs of an image and their bytes. Blobs that other images use, too, are counted in full.

    The arguments and errors are those of `check`.
    """
    found = await check(store, image, platforms=platforms, limits=limits)
    return ImageUsage(
        name=found.name,
        blobs=len(found.present),
        size=sum(node.descriptor.size for node in found.present),
        absent=len(found.absent),
        absent_size=sum(node.descriptor.size for node in found.absent),
    )


async def examine(
    store: Store,
    reader: DocumentReader,
    name: str,
    root: OCIDescriptor,
    *,
    platforms: Platforms | None,
    in_memory: Callable[[OCIDescriptor], bool] = lambda _: False,
    visited: Visited | None = None,
) -> ImageCheck:
    """Check an image without its configs. Some of its blobs may be `in_memory` and not in the store.
    `ImageCheck.present` lacks the blobs below documents that `visited` covers.
    """
    nodes = await _nodes(reader, root, platforms, visited)
    present: list[Node] = []
    absent: list[Node] = []
    for part in short_slices(nodes):
        digests = [_digest(node) for node in part]
        sizes = await store.sizes([digest for digest in digests if digest is not None])
        for node, digest in zip(part, digests, strict=True):
            size = None if digest is None else sizes.get(digest)
            here = (size is not None and size == node.descriptor.size) or in_memory(node.descriptor)
            (present if here else absent).append(node)
    return ImageCheck(
        name=name,
        target=root,
        present=tuple(present),
        absent=tuple(absent),
        unmatched=() if platforms is None else _unmatched(platforms, nodes),
    )


async def _nodes(
    reader: DocumentReader, root: OCIDescriptor, platforms: Platforms | None, visited: Visited | None
) -> list[Node]:
    while True:
        was_disabled = visited is None or visited.is_disabled
        walk = walk_one_of(reader, root, platforms=platforms, visited=visited)
        async with aclosing(walk) as nodes:
            found = [node async for node in nodes]
        if was_disabled or visited is None or not visited.is_disabled:
            return found
        # This image contradicts another one, so every document must be visited.


async def check_configs(reader: DocumentReader, present: Sequence[Node]) -> None:
    """Check the configs among the blobs of an image that were not checked for another image.

    Raises:
        InvalidDocument, LimitExceeded, DataCorrupt: programs that run images would not accept a config.
    """

    async def check_config(node: Node) -> None:
        await reader.check_config(node.descriptor)

    configs = [node for node in present if node.descriptor.kind == "config"]
    for some in slices(configs, CONCURRENCY):
        await read_all(some, check_config)


async def find_root(store: Store, target: Descriptor, reader: DocumentReader) -> OCIDescriptor:
    """Return the descriptor of an image's root; its size and media type may remain unknown if it is not stored."""
    if target.size is not None and target.media_type is not None:
        return OCIDescriptor.of(target)
    if not await store.exists(target.digest):
        return OCIDescriptor.of(target)
    return await reader.describe(target)


def _digest(node: Node) -> Digest | None:
    try:
        return node.descriptor.blob
    except InvalidDigest:  # its algorithm is unknown, so it cannot be stored
        return None


def _unmatched(platforms: Platforms, nodes: Iterable[Node]) -> tuple[Platform, ...]:
    # A manifest without an index has no platform.
    offered = [node.platform for node in nodes if node.descriptor.kind == "manifest"]
    if None in offered:
        return ()
    return platforms.unmatched(each for each in offered if each is not None)


def _facts(node: Node) -> tuple[str, str | None, str | None]:
    parent = None if node.parent is None else node.parent.digest
    return node.descriptor.digest, parent, None if node.platform is None else str(node.platform)
