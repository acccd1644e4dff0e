"""The JSON documents of OCI and Docker, as typed views on bytes that are never changed.

A `Document` is its bytes, and its digest is theirs: nothing is ever encoded again to be hashed. The view beside them has
the fields that this package knows; all others are still in the bytes.

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
"""A digest that a store computes in its one form, small letters and the right length, or one of an unknown algorithm."""

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
    """What a document says of a blob that it names.

    Attributes:
        media_type: what the bytes are.
        digest: their digest, as text: its algorithm may be one that no store here computes.
        size: their length in bytes.
        urls: where else they may be had; kept, never followed.
        annotations: what else is said of them.
        data: the bytes themselves, perhaps; see `embedded`.
        artifact_type: what a manifest that is no image holds.
        platform: what they run on, where an index says so.
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
        """The blob's name in a store.

        Raises:
            UnsupportedAlgorithm: no store computes such a digest.
            InvalidDigest: it is malformed.
        """
        return Digest.parse(self.digest)

    @property
    def kind(self) -> Kind:
        """What the bytes are, by their media type."""
        return kind_of(self.media_type)

    @property
    def target(self) -> Descriptor:
        """The descriptor for a store and for an image name; annotations that are no labels are left out."""
        return Descriptor(
            digest=self.blob, size=self.size, media_type=self.media_type, annotations=fitting(self.annotations or {})
        )

    def embedded(self) -> bytes | None:
        """Return the bytes that the descriptor brings along, if they are those that it names, or None."""
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
        """Return what a store or an image name holds as a descriptor of a document.

        Args:
            descriptor: the descriptor.
            size: its size, where it does not say so itself.
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
        """What it names, in its order."""
        return self.manifests or ()


class Manifest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"schema_version": "schemaVersion", "media_type": "mediaType", "artifact_type": "artifactType"},
):
    """OCI's image manifest or Docker's of schema 2: a config, and layers from the lowest up."""

    schema_version: Schema
    config: OCIDescriptor
    layers: tuple[OCIDescriptor, ...] | None
    media_type: str | None = None
    artifact_type: str | None = None
    subject: OCIDescriptor | None = None
    annotations: dict[str, str] | None = None

    @property
    def children(self) -> tuple[OCIDescriptor, ...]:
        """What it names: the config, then the layers in their order."""
        return (self.config, *(self.layers or ()))


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """What an image's file system is made of: the digests of its layers uncompressed, from the lowest up."""

    type: str = ""
    diff_ids: tuple[DigestText, ...] | None = None


class ImageConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename={"os_version": "os.version", "os_features": "os.features"}
):
    """The config of an image: its platform, its layers, and how it is run."""

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
        """What the image runs on, normalised."""
        return Platform(
            os=self.os,
            architecture=self.architecture,
            variant=self.variant,
            os_version=self.os_version,
            os_features=self.os_features,
        ).normalised()

    @property
    def children(self) -> tuple[OCIDescriptor, ...]:
        """Nothing: a config names no blobs."""
        return ()


class ImageLayout(msgspec.Struct, frozen=True, kw_only=True, rename={"version": "imageLayoutVersion"}):
    """The file ``oci-layout`` of an image layout."""

    version: Annotated[str, Meta(pattern=r"^1\.[0-9]+\.[0-9]+\Z")]


class SavedImage(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One entry of the ``manifest.json`` that ``docker save`` writes; its values are names of archive entries."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


ViewT = TypeVar("ViewT")


class Document(msgspec.Struct, Generic[ViewT], frozen=True, kw_only=True):
    """A JSON document: its bytes, and what they say.

    Attributes:
        raw: the bytes as they came: what is stored, what the digest is of.
        media_type: what they are.
        view: the fields that this package knows, or None for a kind of document that it does not.
    """

    raw: bytes
    media_type: str
    view: ViewT

    def value(self) -> Mapping[str, Any]:
        """Return all that the document says, unknown fields too, as new dicts and lists that may be changed."""
        value: Mapping[str, Any] = _json.decode(self.raw, Any)
        return value


AnyDocument: TypeAlias = Document[Index | Manifest | ImageConfig | None]
"""A document of any kind."""
