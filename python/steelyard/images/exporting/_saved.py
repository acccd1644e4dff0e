"""The ``manifest.json`` that ``docker load`` reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from steelyard.errors import InvalidArgument
from steelyard.images.choose import Platforms
from steelyard.images.documents import Manifest, OCIDescriptor
from steelyard.images.node import Node, view_of
from steelyard.images.reference import ImageReference

__all__ = ("saved_images",)


def saved_images(
    images: Iterable[tuple[str | None, tuple[Node, ...]]], written: Mapping[str, str], platforms: Platforms | None
) -> bytes | None:
    """Return the document, or None if none of the images can be in it.

    It names one manifest of each image: the only one, or the one for the first of the wanted platforms. It leaves out an image
    for several platforms if no platforms are wanted, an image whose blobs are not all written, and artifacts that are not
    images.

    Args:
        images: the name and the blobs of each image.
        written: the path in the archive of each written blob.
        platforms: the wanted platforms.
    """
    entries: dict[str, tuple[Manifest, set[str]]] = {}
    for name, nodes in images:
        chosen = _choose([node for node in nodes if _is_image(node, written)], platforms)
        if chosen is None:
            continue
        _, tags = entries.setdefault(chosen[0].digest, (chosen[1], set()))
        tag = None if name is None else _tag(name)
        if tag is not None:
            tags.add(tag)
    if not entries:
        return None
    return msgspec.json.encode(
        [
            {
                "Config": written[manifest.config.digest],
                "RepoTags": sorted(tags) or None,
                "Layers": [written[layer.digest] for layer in manifest.layers or ()],
            }
            for manifest, tags in entries.values()
        ]
    )


def _is_image(node: Node, written: Mapping[str, str]) -> bool:
    view = view_of(node)
    if not isinstance(view, Manifest) or view.config.kind != "config":
        return False
    return all(layer.kind == "layer" for layer in view.layers or ()) and all(
        child.digest in written for child in view.children
    )


def _choose(nodes: list[Node], platforms: Platforms | None) -> tuple[OCIDescriptor, Manifest] | None:
    found = nodes
    if platforms is not None and len(nodes) > 1:
        described = [msgspec.structs.replace(node.descriptor, platform=node.platform) for node in nodes]
        for wanted in platforms.wanted:
            best = [each.digest for each in Platforms(wanted).choose(described) if each.platform is not None]
            if best:
                found = [node for node in nodes if node.descriptor.digest == best[0]]
                break
    if len(found) != 1:
        return None
    document = found[0].document
    view = None if document is None else document.view
    return (found[0].descriptor, view) if isinstance(view, Manifest) else None


def _tag(name: str) -> str | None:
    """Return the name as Docker shows it, or None if it has no tag or is not a reference."""
    try:
        reference = ImageReference.parse(name)
    except InvalidArgument:
        return None
    return msgspec.structs.replace(reference, digest=None).familiar if reference.tag is not None else None
