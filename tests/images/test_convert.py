"""Conversion of images: what changes, and what stays as it is to the byte."""

from __future__ import annotations

import json
import threading
from typing import Any

import msgspec
import pytest
from support.make_images import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    encode,
    keep,
    keep_two_platforms,
    named,
    root_of,
    target_of,
)

from steelyard import AlreadyExists, NotFound, Store
from steelyard.errors import IncompleteImage, NameMoved
from steelyard.images import DEFAULT_LIMITS, OCIDescriptor, Platforms, check, convert
from steelyard.images.convert import Rewriter
from steelyard.images.read import DocumentReader, ParsedDocuments

pytestmark = pytest.mark.anyio

NAME = "docker.io/demo/app:1"
DOCKER = "application/vnd.docker."


async def keep_docker(store: Store) -> None:
    """Store an image with Docker's media types and with unknown fields."""
    config = b'{"os":"linux","architecture":"amd64"}'
    manifest = encode(
        {
            "unknown": [1, {"b": 2, "a": 1}],
            "schemaVersion": 2,
            "mediaType": f"{DOCKER}distribution.manifest.v2+json",
            "config": named(config, f"{DOCKER}container.image.v1+json", annotations={"note": "kept"}),
            "layers": [
                named(b"one", f"{DOCKER}image.rootfs.diff.tar.gzip", strange=True),
                named(b"two", f"{DOCKER}image.rootfs.foreign.diff.tar.gzip", urls=["https://example.org"]),
            ],
        }
    )
    entry = named(manifest, f"{DOCKER}distribution.manifest.v2+json", platform={"os": "linux", "architecture": "amd64"})
    media_type = f"{DOCKER}distribution.manifest.list.v2+json"
    index = encode({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]})
    await keep(store, config, b"one", b"two", manifest, index)
    await store.images.create(NAME, target_of(index, media_type), labels={"kind": "demo"})


async def tree(store: Store, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the index of an image and its first manifest."""
    index = json.loads(await store.get((await store.images.get(name)).target.digest))
    return index, json.loads(await store.get(index["manifests"][0]["digest"]))


async def test_media_types_become_ocis_and_all_else_stays(store: Store) -> None:
    await keep_docker(store)
    _, before = await tree(store, NAME)
    made = await convert(store, NAME)
    index, manifest = await tree(store, NAME)

    assert (INDEX, INDEX, MANIFEST) == (made.target.media_type, index["mediaType"], index["manifests"][0]["mediaType"])
    assert {"kind": "demo"} == dict(made.labels)
    assert CONFIG == manifest["config"]["mediaType"]
    layers = [f"{LAYER}+gzip", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"]
    assert layers == [layer["mediaType"] for layer in manifest["layers"]]
    assert "docker" not in json.dumps([index, manifest])
    for document in (before, manifest):
        document.pop("mediaType")
        for part in (document["config"], *document["layers"]):
            part.pop("mediaType")
    assert list(before.items()) == list(manifest.items())
    assert (await check(store, NAME)).complete


async def test_an_image_that_is_ocis_already_keeps_its_digests(store: Store) -> None:
    index, _ = await keep_two_platforms(store, NAME)
    count = len([info async for info in store.walk()])
    made = await convert(store, NAME, "docker.io/demo/new:1")

    assert target_of(index).digest == made.target.digest
    assert count == len([info async for info in store.walk()])


async def test_platforms_that_are_not_wanted_go_from_the_index(store: Store) -> None:
    await keep_two_platforms(store, NAME)
    await convert(store, NAME, "docker.io/demo/arm:1", platforms=Platforms("linux/arm64"))
    index, _ = await tree(store, "docker.io/demo/arm:1")

    assert ["arm64"] == [each["platform"]["architecture"] for each in index["manifests"]]
    assert 2 == len((await tree(store, NAME))[0]["manifests"])
    with pytest.raises(NotFound, match="s390x"):
        await convert(store, NAME, platforms=Platforms("linux/s390x"))


async def test_hooks_see_every_descriptor_children_first_and_may_replace_it(store: Store) -> None:
    await keep_two_platforms(store, NAME)
    seen: list[str] = []

    async def swap(descriptor: OCIDescriptor) -> OCIDescriptor:
        seen.append(descriptor.kind)
        if descriptor.digest != str(target_of(b"shared layer").digest):
            return descriptor
        await store.put(b"another layer")
        return root_of(b"another layer", LAYER)

    made = await convert(store, NAME, "docker.io/demo/new:1", hooks=[swap])
    found = await check(store, made.name)

    assert ["config", "layer", "layer", "manifest"] * 2 + ["index"] == seen
    assert found.complete
    digests = {node.descriptor.digest for node in found.present}
    assert str(target_of(b"another layer").digest) in digests
    assert str(target_of(b"shared layer").digest) not in digests


async def test_names_of_others_are_not_moved(store: Store) -> None:
    await keep_docker(store)
    other = target_of(b"{}")
    await store.images.create("docker.io/demo/new:1", other)
    with pytest.raises(AlreadyExists):
        await convert(store, NAME, "docker.io/demo/new:1")

    async def interfere(descriptor: OCIDescriptor) -> OCIDescriptor:
        await store.images.assign({NAME: other}, overwrite=True)
        return descriptor

    with pytest.raises(NameMoved):
        await convert(store, NAME, hooks=[interfere])
    assert other.digest == (await store.images.get(NAME)).target.digest


async def test_an_incomplete_image_is_not_converted(store: Store) -> None:
    await keep_docker(store)
    await store.delete(target_of(b"one").digest)
    with pytest.raises(IncompleteImage):
        await convert(store, NAME)


async def test_a_large_document_is_not_decoded_on_the_event_loops_thread(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 64 KiB takes less than a millisecond; what is larger belongs on another thread."""
    old = f"{DOCKER}distribution.manifest.v2+json"
    manifests = [named(str(number).encode(), old) for number in range(1500)]
    index = encode({"schemaVersion": 2, "manifests": manifests})
    await keep(store, index)
    here: list[int] = []
    decode, loop = msgspec.json.decode, threading.get_ident()

    def watched(data: Any, **options: Any) -> Any:
        if threading.get_ident() == loop:
            here.append(len(data))
        return decode(data, **options)

    monkeypatch.setattr(msgspec.json, "decode", watched)
    reader = DocumentReader(store, ParsedDocuments(DEFAULT_LIMITS))
    rewriter = Rewriter(reader, oci=True, platforms=None, skip_missing=True)
    await rewriter.run(root_of(index))

    assert len(index) > 100 << 10
    assert sum(here) <= 64 << 10
