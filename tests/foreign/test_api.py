"""The calls behind the commands, on both backends and both stores, with archives that skopeo wrote and reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from steelyard import LocalStore, MemoryStore, Store
from steelyard.images import check, export_images, import_images

from .programs import Image, raw, skopeo

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NAME = "docker.io/demo/app:1"


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store of each kind."""
    async with LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore() as store:
        yield store


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """Yield a file in pieces of no round size."""
    data = await to_thread.run_sync(path.read_bytes)
    for start in range(0, len(data), 70_001):
        yield data[start : start + 70_001]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_image_of_two_platforms_comes_and_goes(
    store: Store, images: dict[str, Image], tmp_path: Path, *, stream: bool
) -> None:
    image, archive = images["index"], tmp_path / "a.tar"
    await to_thread.run_sync(partial(skopeo, "copy", "--all", image.source, f"oci-archive:{archive}:{NAME}"))
    found = await import_images(store, pieces(archive) if stream else archive)
    await export_images(store, tmp_path / "b.tar", [NAME])
    sent = await to_thread.run_sync(raw, f"oci-archive:{tmp_path}/b.tar:1")

    assert (NAME,) == found.names
    assert image.blobs == {str(info.digest) async for info in store.walk()}
    assert (await check(store, NAME)).complete
    assert await store.get(found.images[0].target.digest) == sent
