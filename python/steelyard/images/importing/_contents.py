"""The images of an archive, from its documents: a layout or `docker save`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from steelyard.digest import Algorithm
from steelyard.errors import InvalidArchive, InvalidDocument
from steelyard.hashing import Hasher
from steelyard.images import media_types
from steelyard.images.documents import ImageConfig, Index, OCIDescriptor, SavedImage
from steelyard.images.importing._naming import Contents, Root
from steelyard.images.layout._names import INDEX_FILE, LAYOUT_FILE, SAVED_FILE, encode_index
from steelyard.images.limits import Limits
from steelyard.images.parse import parse_document, parse_index, parse_layout, parse_saved_images
from steelyard.images.reference import normalise
from steelyard.model import DEFAULT_ALGORITHM

__all__ = (
    "DOCUMENTS",
    "LEFTOVERS",
    "ArchiveDocuments",
    "Layer",
    "check_layers",
    "layer_type",
    "saved_config",
    "saved_contents",
    "saved_manifest",
)

DOCUMENTS = frozenset({LAYOUT_FILE, INDEX_FILE, SAVED_FILE})
"""The entries that are read as documents."""

LEFTOVERS = frozenset({"VERSION", "json", "repositories"})
"""Files that `docker save` writes for old readers; no ``manifest.json`` names them."""


class Layer(msgspec.Struct, frozen=True):
    """A layer of `docker save` as a blob: its digest, size and media type."""

    digest: str
    size: int
    media_type: str


class ArchiveDocuments:
    """The documents of an archive, each parsed once.

    Args:
        limits: bounds on the documents.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._raw: dict[str, bytes] = {}
        self._index: Index | None = None

    @property
    def size(self) -> int:
        """Bytes of all documents."""
        return sum(map(len, self._raw.values()))

    def add(self, name: str, raw: bytes) -> bytes:
        """Keep a document, and return its bytes; those of an earlier entry with the same name take precedence."""
        return self._raw.setdefault(name, raw)

    def names_images(self) -> bool:
        """Return whether the documents so far prove that the archive is a layout."""
        return {LAYOUT_FILE, INDEX_FILE} <= self._raw.keys() and bool(self._parsed_index().children)

    def layout(self) -> Contents | None:
        """Return the images of an OCI layout. Return None if there is no layout, or if it has no images but ``manifest.json`` may name some.

        Docker 25 writes an index without images for `docker save` of an image without a name.

        Raises:
            InvalidArchive: one of its two files is missing.
            InvalidDocument, LimitExceeded: one of them is malformed.
        """
        if LAYOUT_FILE not in self._raw and INDEX_FILE not in self._raw:
            return None
        for name, other in ((LAYOUT_FILE, INDEX_FILE), (INDEX_FILE, LAYOUT_FILE)):
            if name not in self._raw:
                raise InvalidArchive(None, expected=f"an entry {name!r} beside {other!r}", actual="none")
        parse_layout(self._raw[LAYOUT_FILE], limits=self._limits)
        descriptors = self._parsed_index().children
        if not descriptors and SAVED_FILE in self._raw:
            return None
        roots = tuple(Root.of(descriptor) for descriptor in descriptors)
        return Contents(roots=roots, index=self._raw[INDEX_FILE], name=INDEX_FILE)

    def saved(self) -> Sequence[SavedImage]:
        """Return the images that `docker save` names.

        Raises:
            InvalidArchive: there is no ``manifest.json`` either: this is not an archive of images.
            InvalidDocument, LimitExceeded: it is malformed.
        """
        if SAVED_FILE not in self._raw:
            raise InvalidArchive(
                None, expected=f"entries {LAYOUT_FILE!r} and {INDEX_FILE!r}, or {SAVED_FILE!r}", actual="none of them"
            )
        return parse_saved_images(self._raw[SAVED_FILE], limits=self._limits).view

    def _parsed_index(self) -> Index:
        if self._index is None:
            self._index = parse_index(self._raw[INDEX_FILE], limits=self._limits).view
        return self._index


def saved_config(raw: bytes, name: str, limits: Limits) -> ImageConfig:
    """Return the fields of a config of `docker save` that an import needs.

    Raises:
        InvalidDocument: the config is malformed, or a layer has a digest that Docker does not compute.
    """
    view = parse_document(raw, media_types.DOCKER_CONFIG, name=name, limits=limits).view
    assert isinstance(view, ImageConfig)  # noqa: S101  # by its media type
    for number, diff in enumerate(view.rootfs.diff_ids or ()):
        if not diff.startswith(f"{Algorithm.SHA256}:"):
            where = f"$.rootfs.diff_ids[{number}]"
            raise InvalidDocument(
                name, where=where, expected="a digest of sha256, as Docker computes them", actual=diff
            )
    # Many configs may be in memory at the same time, so the unused fields are dropped.
    return msgspec.structs.replace(view, config=None, history=None)


def check_layers(saved: SavedImage, config: ImageConfig) -> None:
    """Refuse a number of layers that differs from that of the config.

    Raises:
        InvalidDocument: the numbers differ.
    """
    layers, diffs = len(saved.layers or ()), len(config.rootfs.diff_ids or ())
    if layers != diffs:
        raise InvalidDocument(saved.config, where="$.rootfs.diff_ids", expected=f"{layers} layers", actual=str(diffs))


def saved_manifest(
    saved: SavedImage, config: ImageConfig, config_layer: Layer, layers: Sequence[Layer]
) -> tuple[bytes, Root]:
    """Make the manifest of an image of `docker save`, in Docker's schema 2; the same image gives the same bytes.

    Raises:
        InvalidDocument: a name of the image is invalid.
    """
    names = []
    for number, tag in enumerate(saved.repo_tags or ()):
        try:
            names.append(normalise(tag))
        except ValueError as error:
            place = f"$[*].RepoTags[{number}]"
            raise InvalidDocument(
                SAVED_FILE, where=place, expected="an image name", actual=f"{tag[:100]!r}: {error}"
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
    # `crane append` without a base, for example, writes no platform.
    platform = config.platform if config.os and config.architecture else None
    descriptor = OCIDescriptor(
        media_type=media_types.DOCKER_MANIFEST, digest=str(hasher.digest()), size=len(raw), platform=platform
    )
    return raw, Root(descriptor=descriptor, names=tuple(dict.fromkeys(names)))


def saved_contents(manifests: Sequence[tuple[bytes, Root]]) -> Contents:
    """Return the images of `docker save`, with the manifests and the index made for them."""
    roots = tuple(root for _, root in manifests)
    made = {root.descriptor.digest: raw for raw, root in manifests}
    return Contents(roots=roots, index=encode_index(root.descriptor for root in roots), name=SAVED_FILE, made=made)


def layer_type(entry: str, compression: str) -> str:
    """Return the media type of a layer of `docker save`.

    Raises:
        InvalidArchive: no media type exists for this compression.
    """
    if compression not in {"plain", "gzip", "zstd"}:
        raise InvalidArchive(entry, expected="a layer in gzip, in zstd or plain", actual=compression)
    return media_types.DOCKER_LAYER if compression == "plain" else f"{media_types.DOCKER_LAYER}.{compression}"
