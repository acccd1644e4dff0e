"""The keys of a store in a bucket. `docs/format.md` describes the layout.

| Key | Holds |
| --- | --- |
| ``steelyard.json`` | the marker: the format's number and the store's random ID |
| ``blobs/<algorithm>/<encoded>`` | a blob, and nothing else |
| ``labels/<algorithm>/<encoded>/<number>`` | a version of the labels of that blob |
| ``images/<SHA-256 of the name>/<number>`` | a version of an image name |
| ``documents/<algorithm>/<encoded>`` | the references of that blob, if it is a document |
| ``leases/<SHA-256 of the ID>/<number>`` | a version of a lease |
| ``leased/<token of the lease>/blobs/<algorithm>/<encoded>`` | nothing: the lease protects that blob |
| ``leased/<token of the lease>/refs/<SHA-256 of the ref>`` | the ref of an ingest that the lease protects |
| ``notes/<algorithm>/<encoded>/<time>-<time of the blob>`` | nothing: that blob has been known as garbage since the first time |
| ``collecting/<number>/begin``, ``beat``, ``batch-<number>``, ``end`` | a garbage collection |
| ``protected/<number of a collection>/<random>`` | the blobs that writers rely on while it runs |
| ``settings/collect/<number>`` | a version of the times of collections |
| ``collector.json`` | the name of the program that collects in place of the store, if there is one |
| ``quarantine/<algorithm>/<encoded>-<random>`` | the bytes of a damaged blob |
| ``probe/<random>`` | objects of the check of the server; removed at its end |
"""

from __future__ import annotations

import hashlib
from uuid import uuid4

from steelyard.digest import Digest
from steelyard.errors import InvalidArgument

__all__ = (
    "BLOBS",
    "COLLECTING",
    "COLLECTOR",
    "DOCUMENTS",
    "FORMAT",
    "IMAGES",
    "LABELS",
    "LEASED",
    "LEASES",
    "MARKER",
    "NOTES",
    "PROTECTED",
    "QUARANTINE",
    "SETTINGS",
    "blob_key",
    "damaged_at",
    "damaged_key",
    "digest_at",
    "digest_named",
    "document_key",
    "hashed",
    "label_name",
)

FORMAT = 1
MARKER = "steelyard.json"
BLOBS = "blobs/"
LABELS = "labels/"
IMAGES = "images/"
QUARANTINE = "quarantine/"
DOCUMENTS = "documents/"
LEASES = "leases/"
LEASED = "leased/"
NOTES = "notes/"
COLLECTING = "collecting/"
PROTECTED = "protected/"
COLLECTOR = "collector.json"
SETTINGS = "settings/"


def blob_key(digest: Digest) -> str:
    """Return the key of a blob."""
    return f"{BLOBS}{label_name(digest)}"


def document_key(digest: Digest) -> str:
    """Return the key of the references of a document."""
    return f"{DOCUMENTS}{label_name(digest)}"


def digest_at(key: str) -> Digest | None:
    """Return the digest of the blob at a key, or None if the key is not that of a blob."""
    return digest_named(key.removeprefix(BLOBS))


def digest_named(name: str) -> Digest | None:
    """Return the digest that has this `label_name`, or None if no digest has it."""
    algorithm, _, encoded = name.partition("/")
    try:
        return Digest.parse(f"{algorithm}:{encoded}")
    except InvalidArgument:
        return None


def damaged_key(digest: Digest) -> str:
    """Return a new key for a damaged copy of a blob."""
    return f"{QUARANTINE}{label_name(digest)}-{uuid4().hex[:8]}"


def damaged_at(key: str) -> Digest | None:
    """Return the digest of the blob whose damaged copy is at a key, or None if the key is not that of a copy."""
    return digest_at(BLOBS + key.removeprefix(QUARANTINE).rpartition("-")[0])


def label_name(digest: Digest) -> str:
    """Return the name of the record of a blob's labels. Names sort in the order of the digests."""
    return f"{digest.algorithm.value}/{digest.encoded}"


def hashed(name: str) -> str:
    """Return the part of a key for an image name, a lease or a ref. Such a name may be longer than a key, and two may differ only in case."""
    return hashlib.sha256(name.encode()).hexdigest()
