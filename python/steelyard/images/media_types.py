"""The media types of images, OCI's and Docker's, and their kinds.

Spec: OCI image specification, "Media Types"; Docker's "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

from typing import Literal

__all__ = ("Kind", "is_non_distributable", "kind_of", "to_oci")

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."

OCI_INDEX = OCI + "index.v1+json"
OCI_MANIFEST = OCI + "manifest.v1+json"
OCI_CONFIG = OCI + "config.v1+json"
OCI_LAYER = OCI + "layer.v1.tar"
DOCKER_INDEX = DOCKER + "distribution.manifest.list.v2+json"
DOCKER_MANIFEST = DOCKER + "distribution.manifest.v2+json"
DOCKER_CONFIG = DOCKER + "container.image.v1+json"
DOCKER_LAYER = DOCKER + "image.rootfs.diff.tar"
DOCKER_FOREIGN_LAYER = DOCKER + "image.rootfs.foreign.diff.tar"
OCI_NON_DISTRIBUTABLE = OCI + "layer.nondistributable.v1.tar"

SCHEMA_1 = frozenset({DOCKER + "distribution.manifest.v1+prettyjws", DOCKER + "distribution.manifest.v1+json"})
"""Both media types of Docker's first schema; such manifests are always refused."""

Kind = Literal["index", "manifest", "config", "layer", "other"]
"""The kind of a blob: an index or manifest has children, any other blob is a leaf."""

_KINDS: dict[str, Kind] = {
    OCI_INDEX: "index",
    DOCKER_INDEX: "index",
    OCI_MANIFEST: "manifest",
    DOCKER_MANIFEST: "manifest",
    OCI_CONFIG: "config",
    DOCKER_CONFIG: "config",
}
_KINDS |= dict.fromkeys(SCHEMA_1, "manifest")
_LAYERS = (OCI_LAYER, DOCKER_LAYER, DOCKER_FOREIGN_LAYER, OCI_NON_DISTRIBUTABLE)
_KINDS |= {f"{layer}{suffix}": "layer" for layer in _LAYERS for suffix in ("", "+gzip", "+zstd", ".gzip", ".zstd")}

_TO_OCI = {
    DOCKER_INDEX: OCI_INDEX,
    DOCKER_MANIFEST: OCI_MANIFEST,
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER + ".gzip": OCI_LAYER + "+gzip",
    DOCKER_LAYER + ".zstd": OCI_LAYER + "+zstd",
    DOCKER_FOREIGN_LAYER: OCI_NON_DISTRIBUTABLE,
    DOCKER_FOREIGN_LAYER + ".gzip": OCI_NON_DISTRIBUTABLE + "+gzip",
    DOCKER_FOREIGN_LAYER + ".zstd": OCI_NON_DISTRIBUTABLE + "+zstd",
}


def kind_of(media_type: str | None) -> Kind:
    """Return the kind of a blob by its media type."""
    if media_type is None:
        return "other"
    known = _KINDS.get(media_type)
    if known is not None:
        return known
    return "layer" if _plain(media_type) in _LAYERS else "other"


def is_non_distributable(media_type: str | None) -> bool:
    """Return whether it is a non-distributable layer, which Docker calls foreign."""
    return media_type is not None and _plain(media_type) in {DOCKER_FOREIGN_LAYER, OCI_NON_DISTRIBUTABLE}


def to_oci(media_type: str) -> str:
    """Return OCI's media type for one of Docker's; any other is returned unchanged."""
    return _TO_OCI.get(media_type, media_type)


def _plain(media_type: str) -> str:
    """Return a layer's media type without its compression: OCI appends ``+gzip``, Docker ``.gzip``."""
    for suffix in ("gzip", "zstd"):
        media_type = media_type.removesuffix(f"+{suffix}").removesuffix(f".{suffix}")
    return media_type
