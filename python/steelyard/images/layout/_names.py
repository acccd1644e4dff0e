"""The names in a layout, and in an archive that has one: files, blobs, annotations."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from steelyard.digest import Digest
from steelyard.images.documents import OCIDescriptor
from steelyard.images.media_types import OCI_INDEX

__all__ = (
    "BLOBS",
    "IMAGE_NAME",
    "INDEX_FILE",
    "LAYOUT_BYTES",
    "LAYOUT_FILE",
    "REF_NAME",
    "SAVED_FILE",
    "blob_name",
    "encode_index",
)

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names a descriptor in the index of a layout."""

IMAGE_NAME = "io.containerd.image.name"
"""The annotation that containerd and Docker write for the full name of a descriptor in an index."""

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"

SAVED_FILE = "manifest.json"
"""The file that makes an archive also an archive of ``docker save``."""

BLOBS = "blobs"
"""The directory of the blobs."""

LAYOUT_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
"""The content of ``oci-layout``."""


def blob_name(digest: Digest) -> str:
    """Return the name of a blob in a layout."""
    return f"{BLOBS}/{digest.algorithm}/{digest.encoded}"


def encode_index(descriptors: Iterable[OCIDescriptor]) -> bytes:
    """Return the bytes of an index of these descriptors."""
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(descriptors)})
