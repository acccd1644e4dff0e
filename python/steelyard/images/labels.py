"""What becomes of the annotations and labels that an image brings along.

An image's maker can write anything into them. Some labels are orders to whoever keeps the blobs: containerd runs its
garbage collector by ``containerd.io/gc.*`` and reads others, too. So none of those ever comes from content.
"""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.errors import InvalidArgument
from steelyard.model import Labels

__all__ = ("content_labels", "is_reserved")

_RESERVED = ("containerd.io", "steelyard")
"""Domains whose labels mean something to a store; subdomains are theirs, too."""


def is_reserved(key: str) -> bool:
    """Return whether a label of that key is an order to a store, so that content must not give it.

    Reserved are all keys below ``containerd.io/`` and ``steelyard/``, and those of subdomains.
    """
    domain = key.partition("/")[0].strip().lower()
    return any(domain == reserved or domain.endswith(f".{reserved}") for reserved in _RESERVED)


def content_labels(annotations: Mapping[str, str] | None, *, most: int = 1000) -> Labels:
    """Return those annotations of an image that may become labels: not reserved, not too long, the first `most` by key."""
    allowed = {key: value for key, value in sorted((annotations or {}).items()) if not is_reserved(key)}
    return fitting(dict(list(fitting(allowed).items())[:most]))


def fitting(annotations: Mapping[str, str]) -> Labels:
    """Return those annotations that are not too long to be labels; in a descriptor they are no orders to anybody."""
    kept: dict[str, str] = {}
    for key, value in annotations.items():
        try:
            kept.update(Labels({key: value}))
        except InvalidArgument:
            continue
    return Labels(kept)
