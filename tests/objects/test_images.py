"""Images in a bucket: in and out, kept by their names, and gone with them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support.make_archives import layout, one_image, tar

from steelyard import MemoryStore
from steelyard.images import export_images, import_images
from steelyard.objects import ObjectStore
from steelyard.testing._values import data_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LARGE = data_of((9 << 20) + 3, "large")


async def test_an_image_comes_and_goes(address: str, tmp_path: Path) -> None:
    index, _, blobs = one_image([b"small", LARGE], org_opencontainers_image_ref_name="demo:1")
    (tmp_path / "in.tar").write_bytes(tar(layout(index, blobs)))
    async with ObjectStore(address, spool=tmp_path / "spool") as store:
        await store.put(b"garbage")
        await import_images(store, tmp_path / "in.tar")
        assert [] == await store.leases.list()
        collected = await store.collect(grace=timedelta(0))
        assert (1, len(b"garbage"), len(blobs)) == (collected.blobs, collected.bytes, collected.kept.image_names)

        (image,) = await store.images.list()
        await export_images(store, tmp_path / "out.tar", [image.name])
        again = MemoryStore()
        await import_images(again, tmp_path / "out.tar")
        assert [image.target] == [each.target for each in await again.images.list()]
        assert {info.digest async for info in store.walk()} <= {info.digest async for info in again.walk()}

        await store.images.delete(image.name)
        assert len(blobs) == (await store.collect(grace=timedelta(0))).blobs
        assert [] == [info async for info in store.walk()]
