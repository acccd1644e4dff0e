"""Images that are copied from one store to another, by the library and by the command, and converted there."""

from __future__ import annotations

import json

from support.make_images import MANIFEST, manifest_of, named

from powercut.history import Change
from powercut.work import Work, blob, digest_of, name, parts, transfer
from steelyard import Descriptor, Digest, LocalStore, copy
from steelyard.images import convert

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


async def run(work: Work) -> None:
    for number in range(3):
        config = b'{"os":"linux","architecture":"amd64","made":"%d"}' % work.chance.getrandbits(40)
        layers = [work.data(300, 100_000) for _ in range(work.chance.randint(1, 4))]
        manifest = docker_manifest(config, layers)
        work.use("store")
        labels = work.labels()
        async with work.store() as source:
            for data in (*layers, config, manifest):
                begun = work.position()
                await source.put(data, labels=labels)
                work.acknowledged(begun, blob(data, labels))
            begun = work.position()
            if number < 2:
                await copied(work, source, [*layers, config, manifest], f"example.com/copied/{number}:1")
        if number == 2:
            await copied_by_command(work, [*layers, config, manifest], labels)


def docker_manifest(config: bytes, layers: list[bytes]) -> bytes:
    fields = json.loads(manifest_of(layers, config=config)) | {"mediaType": DOCKER_MANIFEST}
    fields["config"] = named(config, DOCKER_CONFIG)
    fields["layers"] = [named(layer, DOCKER_LAYER) for layer in layers]
    return json.dumps(fields).encode()


async def copied(work: Work, source: LocalStore, blobs: list[bytes], text: str) -> None:
    """Copy an image under a lease of this process, name it, and convert it."""
    work.use("collected")
    async with work.store() as store:
        async with store.lease() as leased:
            for data in blobs:
                begun = work.position()
                done = await copy(source, digest_of(data), leased)
                named = [parts(data, *blobs[:-1])] if data == blobs[-1] else []
                work.acknowledged(begun, blob(data, {}), copying(data), *named)
            begun = work.position()
            target = Descriptor(media_type=DOCKER_MANIFEST, digest=done.digest, size=len(blobs[-1]))
            await leased.images.create(text, target)
            work.acknowledged(begun, name(text, target.digest))
        begun = work.position()
        image = await convert(store, text, f"{text}-oci")
        at = work.position()
        new = await store.get(image.target.digest)
        assert image.target.media_type == MANIFEST
        changes = [blob(new, {}), parts(new, *blobs[:-1]), name(image.name, image.target.digest)]
        work.acknowledged(begun, *changes, at=at)


async def copied_by_command(work: Work, blobs: list[bytes], labels: dict[str, str]) -> None:
    """Copy blobs by the command, whose lease ends with it: a name keeps the image that was named before it was there."""
    text = "example.com/copied/by-command:1"
    target, source = digest_of(blobs[-1]), work.root
    work.use("collected")
    async with work.store() as store:
        begun = work.position()
        await store.images.create(
            text, Descriptor(media_type=DOCKER_MANIFEST, digest=Digest.parse(target), size=len(blobs[-1]))
        )
        work.acknowledged(begun, name(text, target), parts(blobs[-1], *blobs[:-1]))
    # The name keeps the manifest and what it names, once the manifest is there.
    digests = [target, *map(digest_of, blobs[:-1])]
    begun = work.position()
    await work.command("cp", "--with-labels", source, work.root, *digests)
    work.acknowledged(begun, *(blob(data, labels) for data in blobs), *map(copying, blobs))


def copying(data: bytes) -> Change:
    """Return the change of the ingest of a copy."""
    return transfer(f"copy-{digest_of(data)}", data)
