"""The documents and blobs of an image, from the root down."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import msgspec
from anyio.lowlevel import checkpoint

from steelyard._runtime.chunks import slices
from steelyard._runtime.concurrent import check_concurrency, map_concurrently
from steelyard._runtime.fork import Process
from steelyard.content import Provider
from steelyard.errors import InvalidDocument, LimitExceeded, NotFound, UnsupportedAlgorithm
from steelyard.images._off_loop import short_slices
from steelyard.images._visited import Visited
from steelyard.images.choose import Platforms
from steelyard.images.documents import AnyDocument, Index, OCIDescriptor
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.node import Node, has_children, named_by, view_of
from steelyard.images.read import DocumentReader, read_document

__all__ = ("children", "walk_image", "walk_one_of")

ResultT = TypeVar("ResultT")

CONCURRENCY = 8
"""The number of documents that are read at a time, so that their waits overlap."""


async def children(
    provider: Provider, descriptor: OCIDescriptor, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[OCIDescriptor, ...]:
    """Return the descriptors in an index or a manifest, in their order; for any other blob, none.

    Raises:
        The same errors as `read_document`.
    """
    if not has_children(descriptor):
        await checkpoint()
        return ()
    return named_by(await read_document(provider, descriptor, limits=limits))


async def walk_image(
    provider: Provider,
    root: OCIDescriptor,
    *,
    platforms: Platforms | None = None,
    skip_missing: bool = False,
    concurrency: int = CONCURRENCY,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncGenerator[Node, None]:
    """Iterate over the blobs of an image, each once, even if it is named several times.

    The walk goes level by level: the root, its children, their children. Within a level the documents come first, in the order
    in which they are named, then all other blobs. So the same content always gives the same order. Documents are read and
    verified; other blobs are not read.

    Args:
        provider: reads the documents.
        root: the image's index or manifest.
        platforms: visit only the manifests of an index for these; None: all.
        skip_missing: yield a document that is not stored as `Node.missing`, instead of raising.
        concurrency: documents that are read at a time.
        limits: bounds on documents, on their nesting and on the number of blobs.

    Raises:
        NotFound: a document is not stored; not raised with `skip_missing`.
        InvalidDocument: a document is malformed, or two documents contradict each other about a blob.
        LimitExceeded: the image exceeds `limits`.
        DataCorrupt: the stored bytes of a document do not match its digest.
        UnsupportedAlgorithm: no store computes digests of a document's algorithm; not raised with `skip_missing`.

    Cancellation:
        Reads only; close the generator (`contextlib.aclosing`) to stop early.
    """
    check_concurrency(concurrency)
    read = partial(read_document, provider, limits=limits)
    walk = _Walk(read, platforms, limits, None, skip_missing=skip_missing)
    async with aclosing(_walk(walk, root, concurrency)) as nodes:
        async for node in nodes:
            yield node


def walk_one_of(
    reader: DocumentReader, root: OCIDescriptor, *, platforms: Platforms | None, visited: Visited | None
) -> AsyncGenerator[Node, None]:
    """Do the same as `walk_image` with `skip_missing`, for one of several images.

    The walk leaves out everything below a document that `visited` covers; such a document has no `Node.document`.
    """
    return _walk(_Walk(reader.read, platforms, reader.limits, visited, skip_missing=True), root, CONCURRENCY)


async def _walk(walk: _Walk, root: OCIDescriptor, concurrency: int) -> AsyncGenerator[Node, None]:
    process = Process()
    level = walk.admit(None, (root,))
    while level:
        documents = [node for node in level if has_children(node.descriptor)]
        leaves = [node for node in level if not has_children(node.descriptor)]
        level = []
        # A level is read in slices: the documents of a slice are yielded before the next slice is read.
        for some in slices(documents, concurrency):
            for node in await walk.read(some):
                yield node
                _check(process)
                for named in short_slices(walk.wanted(node)):
                    await checkpoint()
                    level += walk.admit(node, named)
        for part in short_slices(leaves):
            await checkpoint()
            for node in part:
                yield node
                _check(process)


def _check(process: Process) -> None:
    if not process.is_current:
        process.check("walk of an image")


class _Walk:
    """The state of a walk."""

    def __init__(
        self,
        read: Callable[[OCIDescriptor], Awaitable[AnyDocument]],
        platforms: Platforms | None,
        limits: Limits,
        visited: Visited | None,
        *,
        skip_missing: bool,
    ) -> None:
        self._read = read
        self._platforms = platforms
        self._limits = limits
        self._visited = visited
        self._skip_missing = skip_missing
        self._seen: dict[str, OCIDescriptor] = {}

    def wanted(self, parent: Node) -> Sequence[OCIDescriptor]:
        """Return the wanted children of a node."""
        named = named_by(parent.document) if parent.document else ()
        if self._platforms is not None and isinstance(view_of(parent), Index):
            return self._platforms.choose(named)
        return named

    def admit(self, parent: Node | None, named: Sequence[OCIDescriptor]) -> list[Node]:
        """Return the nodes of the descriptors that were not seen before."""
        return [self._node(descriptor, parent) for descriptor in named if self._is_new(descriptor, parent)]

    async def read(self, nodes: Sequence[Node]) -> list[Node]:
        """Return the nodes with their documents, in their order."""
        return await read_all(nodes, self._with_document)

    async def _with_document(self, node: Node) -> Node:
        visited = self._visited
        if visited is not None and visited.covers(node):
            return node
        try:
            document = await self._read(node.descriptor)
        except (NotFound, UnsupportedAlgorithm):
            if not self._skip_missing:
                raise
            return msgspec.structs.replace(node, missing=True)
        if visited is not None:
            visited.visit(node.descriptor, len(named_by(document)))
        return msgspec.structs.replace(node, document=document)

    def _is_new(self, descriptor: OCIDescriptor, parent: Node | None) -> bool:
        known = self._seen.get(descriptor.digest)
        if known is None:
            self._seen[descriptor.digest] = descriptor
            if self._visited is not None and self._visited.contradicts(descriptor):
                self._visited.disable()
            if len(self._seen) > self._limits.nodes:
                raise LimitExceeded("image", limit="nodes", allowed=self._limits.nodes)
            return True
        name = "image" if parent is None else parent.descriptor.digest
        where = f"the descriptor of {descriptor.digest}"
        if known.size != descriptor.size:
            raise InvalidDocument(
                name,
                where=where,
                expected=f"{known.size} bytes, as in another place of the image",
                actual=str(descriptor.size),
            )
        # Docker's and OCI's media types of a layer agree. A document that is also a layer is an attack.
        if known.media_type != descriptor.media_type and (has_children(known) or has_children(descriptor)):
            raise InvalidDocument(
                name,
                where=where,
                expected=f"{known.media_type}, as in another place of the image",
                actual=descriptor.media_type,
            )
        return False

    def _node(self, descriptor: OCIDescriptor, parent: Node | None) -> Node:
        if parent is None:
            return Node(descriptor=descriptor, platform=descriptor.platform)
        depth = parent.depth + 1
        if depth > self._limits.nesting and has_children(descriptor):
            raise LimitExceeded("image", limit="nesting", allowed=self._limits.nesting)
        platform = parent.platform if descriptor.platform is None else descriptor.platform
        return Node(descriptor=descriptor, parent=parent.descriptor, platform=platform, depth=depth)


async def read_all(nodes: Sequence[Node], read: Callable[[Node], Awaitable[ResultT]]) -> list[ResultT]:
    """Return the results of `read` for all nodes, in their order; all calls run at the same time.

    The first failure in the order of the nodes is raised, so that the same content fails in the same way.
    """

    async def attempt(node: Node) -> ResultT | Exception:
        try:
            return await read(node)
        except Exception as error:  # noqa: BLE001  # raised below
            return error

    found: list[ResultT] = []
    for result in await map_concurrently(nodes, attempt, concurrency=max(1, len(nodes))):
        if isinstance(result, Exception):
            raise result
        found.append(result)
    return found
