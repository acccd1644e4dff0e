"""From an archive's documents to its images: those of a layout, and those of `docker save`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from steelyard.digest import Algorithm
from steelyard.errors import InvalidArchive, InvalidDocument
from steelyard.hashing import Hasher
from steelyard.images import media_types
from steelyard.images.documents import ImageConfig, OCIDescriptor, SavedImage
from steelyard.images.importing._naming import Contents, Root
from steelyard.images.layout import REF_NAME
from steelyard.images.limits import Limits
from steelyard.images.parse import parse_document, parse_index, parse_layout, parse_saved_images
from steelyard.images.reference import normalise
from steelyard.model import DEFAULT_ALGORITHM

__all__ = (
    "DOCUMENTS",
    "LEFTOVERS",
    "SAVED",
    "Layer",
    "check_layers",
    "index_of",
    "layer_type",
    "layout_contents",
    "names_images",
    "saved_config",
    "saved_contents",
    "saved_images",
    "saved_manifest",
)

LAYOUT, INDEX, SAVED = "oci-layout", "index.json", "manifest.json"

DOCUMENTS = frozenset({LAYOUT, INDEX, SAVED})
"""The entries that are read as documents."""

LEFTOVERS = frozenset({"VERSION", "json", "repositories"})
"""Files that `docker save` writes for readers of long ago; no ``manifest.json`` names them."""


class Layer(msgspec.Struct, frozen=True):
    """A layer of `docker save`: an entry of the archive, as it will be a blob."""

    digest: str
    size: int
    media_type: str


def layout_contents(documents: dict[str, bytes], limits: Limits) -> Contents | None:
    """Return the images of an OCI layout; None if there is none, or if it names no image and a ``manifest.json`` may.

    Docker 25 writes such an index for `docker save` of an image without a name.

    Raises:
        InvalidArchive: one of its two files is missing.
        InvalidDocument, LimitExceeded: one is malformed.
    """
    if LAYOUT not in documents and INDEX not in documents:
        return None
    for name, other in ((LAYOUT, INDEX), (INDEX, LAYOUT)):
        if name not in documents:
            raise InvalidArchive(None, expected=f"an entry {name!r} beside {other!r}", found="none")
    parse_layout(documents[LAYOUT], limits=limits)
    index = parse_index(documents[INDEX], limits=limits)
    if not index.view.children and SAVED in documents:
        return None
    roots = tuple(Root.of(descriptor, REF_NAME) for descriptor in index.view.children)
    return Contents(roots=roots, index=documents[INDEX], name=INDEX)


def saved_images(documents: dict[str, bytes], limits: Limits) -> Sequence[SavedImage]:
    """Return the images that `docker save` names.

    Raises:
        InvalidArchive: there is no ``manifest.json`` either: it is no archive of images.
        InvalidDocument, LimitExceeded: it is malformed.
    """
    if SAVED not in documents:
        raise InvalidArchive(None, expected=f"entries {LAYOUT!r} and {INDEX!r}, or {SAVED!r}", found="none of them")
    return parse_saved_images(documents[SAVED], limits=limits).view


def saved_config(raw: bytes, name: str, limits: Limits) -> ImageConfig:
    """Return what a config of `docker save` says that matters here.

    Raises:
        InvalidDocument: it is malformed, or a layer has a digest that Docker does not compute.
    """
    view = parse_document(raw, media_types.DOCKER_CONFIG, name=name, limits=limits).view
    assert isinstance(view, ImageConfig)  # noqa: S101  # by its media type
    for number, diff in enumerate(view.rootfs.diff_ids or ()):
        if not diff.startswith(f"{Algorithm.SHA256}:"):
            where = f"$.rootfs.diff_ids[{number}]"
            raise InvalidDocument(name, where=where, expected="a digest of sha256, as Docker computes them", found=diff)
    # Many configs may be kept at a time, so that what is of no use goes.
    return msgspec.structs.replace(view, config=None, history=None)


def check_layers(saved: SavedImage, config: ImageConfig) -> None:
    """Refuse another number of layers than the config has.

    Raises:
        InvalidDocument: there is one.
    """
    layers, diffs = len(saved.layers or ()), len(config.rootfs.diff_ids or ())
    if layers != diffs:
        raise InvalidDocument(saved.config, where="$.rootfs.diff_ids", expected=f"{layers} layers", found=str(diffs))


def saved_manifest(
    saved: SavedImage, config: ImageConfig, config_layer: Layer, layers: Sequence[Layer]
) -> tuple[bytes, Root]:
    """Make the manifest of an image of `docker save`: of Docker's schema 2, the same bytes for the same image.

    Raises:
        InvalidDocument: a name of the image is none.
    """
    names = []
    for number, tag in enumerate(saved.repo_tags or ()):
        try:
            names.append(normalise(tag))
        except ValueError as error:
            place = f"$[*].RepoTags[{number}]"
            raise InvalidDocument(
                SAVED, where=place, expected="an image name", found=f"{tag[:100]!r}: {error}"
            ) from None
    described = [{"mediaType": each.media_type, "size": each.size, "digest": each.digest} for each in layers]
    value = {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_MANIFEST,
        "config": {"mediaType": media_types.DOCKER_CONFIG, "size": config_layer.size, "digest": config_layer.digest},
        "layers": described,
    }
    raw = msgspec.json.encode(value)
    hasher = Hasher(DEFAULT_ALGORITHM)
    hasher.update(raw)
    # `crane append` without a base, for one, writes no platform.
    platform = config.platform if config.os and config.architecture else None
    descriptor = OCIDescriptor(
        media_type=media_types.DOCKER_MANIFEST, digest=str(hasher.digest()), size=len(raw), platform=platform
    )
    return raw, Root(descriptor=descriptor, names=tuple(dict.fromkeys(names)))


def saved_contents(manifests: Sequence[tuple[bytes, Root]]) -> Contents:
    """Return the images of `docker save`, with the manifests and the index that are made for them."""
    roots = tuple(root for _, root in manifests)
    made = {root.descriptor.digest: raw for raw, root in manifests}
    return Contents(roots=roots, index=index_of(roots), name=SAVED, made=made)


def index_of(roots: Sequence[Root]) -> bytes:
    """Return the bytes of an index of these images."""
    entries = [root.descriptor for root in roots]
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries})


def layer_type(entry: str, compression: str) -> str:
    """Return the media type of a layer of `docker save`.

    Raises:
        InvalidArchive: it is compressed in a way that has no media type.
    """
    if compression not in {"plain", "gzip", "zstd"}:
        raise InvalidArchive(entry, expected="a layer in gzip, in zstd or plain", found=compression)
    return media_types.DOCKER_LAYER if compression == "plain" else f"{media_types.DOCKER_LAYER}.{compression}"


def names_images(documents: dict[str, bytes], limits: Limits) -> bool:
    """Return whether it is certain that the archive is a layout, from the documents so far."""
    if not {LAYOUT, INDEX} <= documents.keys():
        return False
    return bool(parse_index(documents[INDEX], limits=limits).view.children)
