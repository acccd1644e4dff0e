"""The state that walks of several images share, so that their work grows with the bytes of documents and not with references."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.errors import LimitExceeded
from steelyard.images.documents import Index, Manifest, OCIDescriptor
from steelyard.images.limits import Limits
from steelyard.images.node import Key, Node, has_children, key_of, view_of

__all__ = ("Visited",)


class Visited:
    """The documents that earlier walks have visited, and those of them that need not be visited again.

    If a blob below a document is absent, the document's children are visited again for each image. ``limits.nodes`` bounds the
    total number of such visits.

    Args:
        limits: bounds on documents.
        indexes: whether the children of an index may be left out, too. They may not if platforms are selected, because the manifests
            say which platforms the image has.

    Attributes:
        is_disabled: whether every document is visited, because images contradict each other.
    """

    def __init__(self, limits: Limits, *, indexes: bool = True) -> None:
        self._limits = limits
        self._indexes = indexes
        self._seen: set[Key] = set()
        self._whole: dict[Key, int] = {}  # and the number of levels below it
        self._descriptors: dict[str, OCIDescriptor] = {}  # of all whole blobs
        self._visits = 0
        self.is_disabled: bool = False

    def covers(self, node: Node) -> bool:
        """Return whether everything below the document is known to be stored, and is not too deep in this image."""
        height = self._whole.get(key_of(node.descriptor))
        return height is not None and node.depth + height <= self._limits.nesting

    def visit(self, descriptor: OCIDescriptor, children: int) -> None:
        """Note a visit to a document; if it is not the first, count its children.

        Raises:
            LimitExceeded: the total number of repeated visits is too large.
        """
        if key_of(descriptor) not in self._seen:
            self._seen.add(key_of(descriptor))
            return
        self._visits += children
        if self._visits > self._limits.nodes:
            raise LimitExceeded("images", limit="nodes", allowed=self._limits.nodes)

    def contradicts(self, descriptor: OCIDescriptor) -> bool:
        """Return whether the descriptor contradicts a descriptor of the same digest below a document that is left out."""
        known = self._descriptors.get(descriptor.digest)
        if known is None or key_of(known) == key_of(descriptor):
            return False
        return known.size != descriptor.size or has_children(known) or has_children(descriptor)

    def disable(self) -> None:
        """Visit every document from now on."""
        self.is_disabled = True
        self._whole.clear()
        self._descriptors.clear()

    def add(self, nodes: Iterable[Node]) -> None:
        """Add all nodes of an image whose blobs are all stored."""
        nodes = list(nodes)
        if self.is_disabled:
            return
        heights = self._heights(nodes)
        for node in nodes:
            self._descriptors.setdefault(node.descriptor.digest, node.descriptor)
        for key, height in heights.items():
            if self._indexes or not height:
                self._whole[key] = height
                self._seen.discard(key)

    def _heights(self, nodes: Iterable[Node]) -> dict[Key, int]:
        """Return for each document that was read the number of levels of documents below it."""
        below: dict[Key, list[Key]] = {}
        for node in nodes:
            view = view_of(node)
            if isinstance(view, Index | Manifest):
                below[key_of(node.descriptor)] = [key_of(child) for child in view.children if has_children(child)]
        found: dict[Key, int] = {}
        for start in below:
            stack = [(start, False)]
            while stack:
                key, is_ready = stack.pop()
                if key in found:
                    continue
                if is_ready:
                    heights = (found.get(child, self._whole.get(child, 0)) for child in below[key])
                    found[key] = 1 + max(heights, default=-1)
                    continue
                stack.append((key, True))
                stack += [(child, False) for child in below[key] if child in below and child not in found]
        return found
