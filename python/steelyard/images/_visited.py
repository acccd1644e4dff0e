"""What walks of several images share, so that their work grows with the bytes of documents, however often one is named."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.errors import LimitExceeded
from steelyard.images.documents import AnyDocument, Index, Manifest, OCIDescriptor
from steelyard.images.limits import Limits
from steelyard.images.node import Key, Node, has_children, key_of, view_of

__all__ = ("Visited",)


class Visited:
    """Documents that earlier walks have read, and those of them below which nothing needs to be looked at again.

    Where something below a document is absent, what it names is visited for each image, though the document is read and
    parsed once. Such visits are bounded by ``limits.nodes`` in all.

    Args:
        limits: bounds on documents.
        indexes: whether what is below an index may be passed over, too. With platforms it may not: its manifests say
            what the image offers.

    Attributes:
        configs: configs that were read and found right.
        is_off: whether nothing is passed over, because images contradict each other.
    """

    def __init__(self, limits: Limits, *, indexes: bool = True) -> None:
        self.configs: set[Key] = set()
        self._limits = limits
        self._indexes = indexes
        self._documents: dict[Key, AnyDocument] = {}
        self._whole: dict[Key, int] = {}  # with the documents below it, one below the other, at most
        self._descriptors: dict[str, OCIDescriptor] = {}  # of all that is whole
        self._visits = 0
        self.is_off = False

    def covers(self, node: Node) -> bool:
        """Return whether all below the document was looked at and is there, and is not too deep in this image either."""
        height = self._whole.get(key_of(node.descriptor))
        return height is not None and node.depth + height <= self._limits.nesting

    def document(self, descriptor: OCIDescriptor) -> AnyDocument | None:
        """Return the document, if it was read."""
        return self._documents.get(key_of(descriptor))

    def keep(self, descriptor: OCIDescriptor, document: AnyDocument) -> None:
        """Remember a document that was read."""
        self._documents[key_of(descriptor)] = document

    def visit_again(self, count: int) -> None:
        """Count what a document names that was read before.

        Raises:
            LimitExceeded: it was too much in all.
        """
        self._visits += count
        if self._visits > self._limits.nodes:
            raise LimitExceeded("images together", limit="nodes", allowed=self._limits.nodes)

    def contradicts(self, descriptor: OCIDescriptor) -> bool:
        """Return whether the descriptor is no match for one of the same digest in what is passed over."""
        known = self._descriptors.get(descriptor.digest)
        if known is None or key_of(known) == key_of(descriptor):
            return False
        return known.size != descriptor.size or has_children(known) or has_children(descriptor)

    def look_at_all(self) -> None:
        """Pass over nothing from now on."""
        self.is_off = True
        self._whole.clear()
        self._descriptors.clear()

    def add(self, nodes: Iterable[Node]) -> None:
        """Take all nodes of an image; each of them is there."""
        nodes = list(nodes)
        if self.is_off:
            return
        heights = self._heights(nodes)
        for node in nodes:
            self._descriptors.setdefault(node.descriptor.digest, node.descriptor)
        for key, height in heights.items():
            if self._indexes or not height:
                self._whole[key] = height
                self._documents.pop(key, None)

    def _heights(self, nodes: Iterable[Node]) -> dict[Key, int]:
        """Return for each document that was read how many are below it, one below the other, at most."""
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
