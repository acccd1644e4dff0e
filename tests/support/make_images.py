"""Makes images in a store, from the layers up, for tests of what reads them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from steelyard import Descriptor, Store
from steelyard.hashing import Hasher
from steelyard.images import OCIDescriptor

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def named(data: bytes, media_type: str = LAYER, /, **more: Any) -> dict[str, Any]:
    """Return a descriptor as it stands in JSON; keywords give or replace fields."""
    hasher = Hasher("sha256")
    hasher.update(data)
    return {"mediaType": media_type, "digest": str(hasher.digest()), "size": len(data), **more}


def manifest_of(layers: list[bytes], *, config: bytes = b'{"os":"linux","architecture":"amd64"}') -> bytes:
    """Return the bytes of a manifest."""
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": named(config, CONFIG),
            "layers": [named(layer) for layer in layers],
        }
    )


def index_of(*manifests: tuple[bytes, str | None], media_type: str = MANIFEST) -> bytes:
    """Return the bytes of an index of manifests with their platforms, ``os/architecture[/variant]``."""
    entries = []
    for data, platform in manifests:
        parts = [] if platform is None else platform.split("/")
        fields = dict(zip(("os", "architecture", "variant"), parts, strict=False))
        entries.append(named(data, media_type, **({"platform": fields} if fields else {})))
    return encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def encode(value: Any) -> bytes:
    """Return the value as JSON."""
    return json.dumps(value).encode()


def root_of(data: bytes, media_type: str = INDEX) -> OCIDescriptor:
    """Return the descriptor of a document."""
    return msgspec.convert(named(data, media_type), OCIDescriptor)


async def keep(store: Store, *blobs: bytes) -> None:
    """Store blobs."""
    for data in blobs:
        await store.put(data)


def two_platforms() -> tuple[bytes, list[bytes]]:
    """Return the index of an image for two platforms that share a layer, and all its blobs, the index last."""
    blobs, manifests = [], []
    for architecture in ("amd64", "arm64"):
        config = encode({"os": "linux", "architecture": architecture})
        own = f"layer of {architecture}".encode()
        manifest = manifest_of([b"shared layer", own], config=config)
        manifests.append((manifest, f"linux/{architecture}"))
        blobs += [config, own, manifest]
    index = index_of(*manifests)
    return index, [*blobs, b"shared layer", index]


async def keep_two_platforms(store: Store, name: str | None = None) -> tuple[bytes, list[bytes]]:
    """Store an image of two platforms that share a layer; return its index and all its blobs."""
    index, blobs = two_platforms()
    await keep(store, *blobs)
    if name is not None:
        await store.images.create(name, root_of(index).target)
    return index, blobs


def target_of(data: bytes, media_type: str = INDEX) -> Descriptor:
    """Return the descriptor that a name holds of a document."""
    return root_of(data, media_type).target
