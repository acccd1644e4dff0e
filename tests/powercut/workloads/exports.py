"""Exports of images to archives and to image layouts, over older ones too."""

from __future__ import annotations

from pathlib import Path

import msgspec
from support.disks import sync
from support.make_images import MANIFEST, manifest_of

from powercut.work import Work, blob, file, name
from steelyard import Descriptor, LocalStore
from steelyard.images import export_images

EMPTY = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
"""The index of a new layout, until it has names."""


async def run(work: Work) -> None:
    texts = [f"example.com/exported/{number}:1" for number in range(2)]
    exported = work.disk / "exported"
    async with work.store() as store:
        for text in texts:
            await keep(work, store, text)
        exported.mkdir()
        sync(work.disk)
        for number in range(4):
            path = exported / f"archive-{number % 2}.tar"
            begun = work.position()
            await export_images(store, path, texts[: work.chance.randint(1, 2)])
            at = work.position()
            work.acknowledged(begun, file(work.disk, path), at=at)
        begun = work.position()
        await export_images(store, f"{exported}/layout/", texts[:1])
        report_layout(work, begun, exported / "layout")
    begun = work.position()
    await work.command("export", f"{exported}/layout", *texts)
    report_layout(work, begun, exported / "layout")


async def keep(work: Work, store: LocalStore, text: str) -> None:
    layers = [work.data(300, 100_000) for _ in range(3)]
    config = b'{"os":"linux","architecture":"amd64","made":"%d"}' % work.chance.getrandbits(40)
    manifest = manifest_of(layers, config=config)
    for data in (*layers, config, manifest):
        begun = work.position()
        found = await store.put(data)
        work.acknowledged(begun, blob(data, {}))
    target = Descriptor(media_type=MANIFEST, digest=found.digest, size=len(manifest))
    begun = work.position()
    await store.images.create(text, target)
    work.acknowledged(begun, name(text, target.digest))


def report_layout(work: Work, begun: int, path: Path) -> None:
    """Report the files of an image layout."""
    at = work.position()
    changes = [file(work.disk, found) for found in sorted(path.rglob("*")) if found.is_file()]
    empty = file(work.disk, path / "index.json", EMPTY).value
    changes = [msgspec.structs.replace(change, during=[empty]) for change in changes]
    work.acknowledged(begun, *changes, at=at)
