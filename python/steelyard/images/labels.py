"""Labels from the annotations of an image.

The author of an image can write anything into its annotations. Some labels control a store: containerd's garbage collector obeys
``containerd.io/gc.*``, for example. So content never sets such labels.
"""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.errors import InvalidArgument
from steelyard.model import Labels

__all__ = ("content_labels", "is_reserved")

_RESERVED = ("containerd.io", "steelyard")
"""Domains of labels that control a store; their subdomains are reserved, too."""


def is_reserved(key: str) -> bool:
    """Return whether a label of that key controls a store, so that content must not set it.

    All keys in ``containerd.io/`` and ``steelyard/``, and in their subdomains, are reserved.
    """
    domain = key.partition("/")[0].strip().lower()
    return any(domain == reserved or domain.endswith(f".{reserved}") for reserved in _RESERVED)


def content_labels(annotations: Mapping[str, str] | None, *, most: int = 1000) -> Labels:
    """Return the annotations of an image that may become labels: not reserved, not too long, the first `most` by key."""
    allowed = {key: value for key, value in sorted((annotations or {}).items()) if not is_reserved(key)}
    return fitting(dict(list(fitting(allowed).items())[:most]))


def fitting(annotations: Mapping[str, str]) -> Labels:
    """Return the annotations that are not too long for labels; in a descriptor, reserved ones control nothing."""
    kept: dict[str, str] = {}
    for key, value in annotations.items():
        try:
            kept.update(Labels({key: value}))
        except InvalidArgument:
            continue
    return Labels(kept)
