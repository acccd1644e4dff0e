"""Imports of archives, by the library and by the command."""

from __future__ import annotations

from support.make_archives import layout, one_image, tar

from powercut.work import Work, blob, digest_of, name, transfer
from steelyard.images import import_images


async def run(work: Work) -> None:
    for number in range(3):
        text = f"example.com/imported/{number}:1"
        layers = [work.data(300, 20_000, 400_000) for _ in range(work.chance.randint(1, 10))]
        index, manifest, blobs = one_image(layers, io_containerd_image_name=text)
        archive = work.disk / f"archive-{number}.tar"
        archive.write_bytes(tar(layout(index, blobs)))
        begun = work.position()
        if number == 0:
            await work.command("import", archive)
        else:
            async with work.store() as store:
                await import_images(store, archive)
        at = work.position()
        async with work.store() as store:
            kept = [blob(data, (await store.info(digest_of(data))).labels) for data in blobs]
        ingests = [transfer(f"import-{digest_of(data)}", data) for data in blobs]
        work.acknowledged(begun, *kept, *ingests, name(text, digest_of(manifest)), at=at)
