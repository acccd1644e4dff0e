"""Imports of archives, by the library and by the command."""

from __future__ import annotations

from support.make_archives import layout, one_image, tar

from powercut.work import Work, blob, name
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
            kept = [blob(data, (await store.info(blob(data, None).key.removeprefix("blob:"))).labels) for data in blobs]
        target = blob(manifest, None).key.removeprefix("blob:")
        work.acknowledged(begun, *kept, name(text, target), at=at)
