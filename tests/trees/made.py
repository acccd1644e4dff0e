"""Trees made by hand, also such as nothing would make."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from steelyard import Descriptor, Digest, Store

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TREE = "application/vnd.steelyard.tree.v1"
CONFIG = "application/vnd.steelyard.tree.config.v1+json"
TITLE = "org.opencontainers.image.title"


async def manifest_of(
    store: Store,
    files: list[tuple[str, bytes]],
    config: Mapping[str, Any] | None = None,
    *,
    artifact: str | None = TREE,
) -> dict[str, Any]:
    """Store a manifest of these files, in this order, and return its descriptor."""
    layers = []
    for path, data in files:
        result = await store.put(data)
        layer = {"mediaType": "application/octet-stream", "digest": str(result.digest), "size": len(data)}
        layers.append(layer | {"annotations": {TITLE: path}})
    named = await document(store, dict(config or {}), CONFIG)
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": named, "layers": layers}
    return await document(store, value if artifact is None else value | {"artifactType": artifact}, MANIFEST)


async def index_of(store: Store, *manifests: dict[str, Any]) -> dict[str, Any]:
    """Store an index of manifests, and return its descriptor."""
    value = {"schemaVersion": 2, "mediaType": INDEX, "artifactType": TREE, "manifests": list(manifests)}
    return await document(store, value, INDEX)


async def document(store: Store, value: dict[str, Any], media_type: str) -> dict[str, Any]:
    """Store a document, and return its descriptor."""
    data = json.dumps(value).encode()
    result = await store.put(data)
    return {"mediaType": media_type, "digest": str(result.digest), "size": len(data)}


async def keep(store: Store, name: str, descriptor: dict[str, Any]) -> None:
    """Give a name to a document."""
    target = Descriptor(
        digest=Digest.parse(descriptor["digest"]), size=descriptor["size"], media_type=descriptor["mediaType"]
    )
    await store.images.assign({name: target}, overwrite=True)
