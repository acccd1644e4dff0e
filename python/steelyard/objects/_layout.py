"""The keys of a store in a bucket. `docs/format.md` describes the layout.

| Key | Holds |
| --- | --- |
| ``steelyard.json`` | the marker: the format's number and the store's random ID |
| ``blobs/<algorithm>/<encoded>`` | a blob, and nothing else |
| ``labels/<algorithm>/<encoded>/<number>`` | a version of the labels of that blob |
| ``images/<SHA-256 of the name>/<number>`` | a version of an image name |
| ``quarantine/<algorithm>/<encoded>-<random>`` | the bytes of a damaged blob |
| ``probe/<random>`` | objects of the check at open; removed at its end |
"""

from __future__ import annotations

import hashlib
from uuid import uuid4

from steelyard.digest import Digest
from steelyard.errors import InvalidArgument

__all__ = (
    "BLOBS",
    "FORMAT",
    "IMAGES",
    "LABELS",
    "MARKER",
    "QUARANTINE",
    "blob_key",
    "damaged_at",
    "damaged_key",
    "digest_at",
    "image_name",
    "label_name",
)

FORMAT = 1
MARKER = "steelyard.json"
BLOBS = "blobs/"
LABELS = "labels/"
IMAGES = "images/"
QUARANTINE = "quarantine/"


def blob_key(digest: Digest) -> str:
    """Return the key of a blob."""
    return f"{BLOBS}{label_name(digest)}"


def digest_at(key: str) -> Digest | None:
    """Return the digest of the blob at a key, or None if the object is not ours."""
    algorithm, _, encoded = key.removeprefix(BLOBS).partition("/")
    try:
        return Digest.parse(f"{algorithm}:{encoded}")
    except InvalidArgument:
        return None


def damaged_key(digest: Digest) -> str:
    """Return a new key for a damaged copy of a blob."""
    return f"{QUARANTINE}{label_name(digest)}-{uuid4().hex[:8]}"


def damaged_at(key: str) -> Digest | None:
    """Return the digest of the blob whose damaged copy is at a key, or None if the object is not ours."""
    return digest_at(BLOBS + key.removeprefix(QUARANTINE).rpartition("-")[0])


def label_name(digest: Digest) -> str:
    """Return the name of the record of the labels of a blob, which sorts as the digest does."""
    return f"{digest.algorithm.value}/{digest.encoded}"


def image_name(name: str) -> str:
    """Return the name of the record of an image name: image names may be longer than a key, and differ in case only."""
    return hashlib.sha256(name.encode()).hexdigest()
