"""The JSON documents of OCI and Docker, as typed views on immutable bytes.

A `Document` keeps its bytes, and its digest is the digest of these bytes; they are never encoded again. The view has the fields
that this package knows. All other fields are in the bytes only.

Spec: OCI image specification (index, manifest, config, image layout, descriptor); Docker's image manifest version 2,
schema 2, and its manifest list; the ``manifest.json`` of ``docker save``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from steelyard._archive import _json
from steelyard.digest import Algorithm, Digest
from steelyard.errors import SteelyardError
from steelyard.hashing import Hasher
from steelyard.images.labels import fitting
from steelyard.images.media_types import Kind, kind_of
from steelyard.images.platforms import Platform
from steelyard.model import Descriptor

__all__ = (
    "AnyDocument",
    "Document",
    "ImageConfig",
    "ImageLayout",
    "Index",
    "Manifest",
    "OCIDescriptor",
    "RootFS",
    "SavedImage",
)

Size: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_OURS = "|".join(f"{each}:[0-9a-f]{{{each.encoded_length}}}" for each in Algorithm)
_FOREIGN = rf"(?!(?:{'|'.join(Algorithm)}):)[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+"

DIGEST_PATTERN = rf"^({_OURS}|{_FOREIGN})\Z"
"""A digest of a known algorithm, in lower case and of the right length, or a digest of an unknown algorithm."""

DigestText: TypeAlias = Annotated[str, Meta(pattern=DIGEST_PATTERN, max_length=300)]
MediaType: TypeAlias = Annotated[str, Meta(min_length=1, max_length=300)]
Schema: TypeAlias = Annotated[int, Meta(ge=2, le=2)]


class OCIDescriptor(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
    rename={"media_type": "mediaType", "artifact_type": "artifactType"},
):
    """The description of a blob in a document.

    Attributes:
        media_type: the media type.
        digest: the digest, as text: its algorithm may be unknown to this package.
        size: the size in bytes.
        urls: other locations of the blob; they are kept but never fetched.
        annotations: further information.
        data: a copy of the blob's bytes, or None; it is not verified; see `embedded`.
        artifact_type: the type of an artifact that is not an image.
        platform: the platform, in an index.
    """

    media_type: MediaType
    digest: DigestText
    size: Size
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    data: bytes | None = None
    artifact_type: str | None = None
    platform: Platform | None = None

    @property
    def blob(self) -> Digest:
        """The parsed digest.

        Raises:
            UnsupportedAlgorithm: no store computes digests of this algorithm.
            InvalidDigest: it is malformed.
        """
        return Digest.parse(self.digest)

    @property
    def kind(self) -> Kind:
        """The kind of blob, by its media type."""
        return kind_of(self.media_type)

    @property
    def target(self) -> Descriptor:
        """The descriptor for a store or an image name, without annotations that are too long for labels."""
        return Descriptor(
            digest=self.blob, size=self.size, media_type=self.media_type, annotations=fitting(self.annotations or {})
        )

    def embedded(self) -> bytes | None:
        """Return the bytes in the descriptor if they match its size and digest, or None."""
        if self.data is None or len(self.data) != self.size:
            return None
        try:
            digest = self.blob
        except SteelyardError:
            return None
        hasher = Hasher(digest.algorithm)
        hasher.update(self.data)
        return self.data if hasher.digest() == digest else None

    @classmethod
    def of(cls, descriptor: Descriptor, *, size: int | None = None) -> OCIDescriptor:
        """Return the descriptor of a store or an image name as a descriptor of a document.

        Args:
            descriptor: the descriptor.
            size: the size to use if the descriptor has none.
        """
        return cls(
            media_type=descriptor.media_type or "application/octet-stream",
            digest=str(descriptor.digest),
            size=(size or 0) if descriptor.size is None else descriptor.size,
            annotations=dict(descriptor.annotations) or None,
        )


class Index(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"schema_version": "schemaVersion", "media_type": "mediaType", "artifact_type": "artifactType"},
):
    """OCI's image index or Docker's manifest list: manifests for several platforms, or an image layout's roots."""

    schema_version: Schema
    manifests: tuple[OCIDescriptor, ...] | None
    media_type: str | None = None
    artifact_type: str | None = None
    subject: OCIDescriptor | None = None
    annotations: dict[str, str] | None = None

    @property
    def children(self) -> tuple[OCIDescriptor, ...]:
        """The descriptors that it contains, in order."""
        return self.manifests or ()


class Manifest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"schema_version": "schemaVersion", "media_type": "mediaType", "artifact_type": "artifactType"},
):
    """OCI's image manifest or Docker's of schema 2: a config, and layers from the lowest to the highest."""

    schema_version: Schema
    config: OCIDescriptor
    layers: tuple[OCIDescriptor, ...] | None
    media_type: str | None = None
    artifact_type: str | None = None
    subject: OCIDescriptor | None = None
    annotations: dict[str, str] | None = None

    @property
    def children(self) -> tuple[OCIDescriptor, ...]:
        """The descriptors that it contains: the config, then the layers in order."""
        return (self.config, *(self.layers or ()))


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """The root file system of an image: the digests of its uncompressed layers, from the lowest to the highest."""

    type: str = ""
    diff_ids: tuple[DigestText, ...] | None = None


class ImageConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename={"os_version": "os.version", "os_features": "os.features"}
):
    """The config of an image: its platform, its layers, and how to run it."""

    os: str = ""
    architecture: str = ""
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] | None = None
    created: str | None = None
    author: str | None = None
    config: dict[str, Any] | None = None
    rootfs: RootFS = RootFS()
    history: tuple[dict[str, Any], ...] | None = None

    @property
    def platform(self) -> Platform:
        """The platform of the image, normalised."""
        return Platform(
            os=self.os,
            architecture=self.architecture,
            variant=self.variant,
            os_version=self.os_version,
            os_features=self.os_features,
        ).normalised()

    @property
    def children(self) -> tuple[OCIDescriptor, ...]:
        """Always empty: a config names no blobs."""
        return ()


class ImageLayout(msgspec.Struct, frozen=True, kw_only=True, rename={"version": "imageLayoutVersion"}):
    """The file ``oci-layout`` of an image layout."""

    version: Annotated[str, Meta(pattern=r"^1\.[0-9]+\.[0-9]+\Z")]


class SavedImage(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """An entry of the ``manifest.json`` of ``docker save``; its values are names of archive entries."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


ViewT = TypeVar("ViewT")


class Document(msgspec.Struct, Generic[ViewT], frozen=True, kw_only=True):
    """A JSON document: its bytes, and a typed view of them.

    Attributes:
        raw: the original bytes, of which the digest is computed.
        media_type: the media type.
        view: the known fields, or None for an unknown kind of document.
    """

    raw: bytes
    media_type: str
    view: ViewT

    def value(self) -> Mapping[str, Any]:
        """Return all fields of the document, including unknown ones, as new dicts and lists, which the caller may change."""
        value: Mapping[str, Any] = _json.decode(self.raw, Any)
        return value


AnyDocument: TypeAlias = Document[Index | Manifest | ImageConfig | None]
"""A document of any kind."""
