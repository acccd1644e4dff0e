"""Collections without a grace time beside imports, exports and conversions: after each piece of work everything else goes, and nothing of it.

Others lost such images half-way: containerd#5690, #5692.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from anyio.abc import ByteSendStream
from support.archives import pieces
from support.make_archives import layout, one_image, tar
from support.make_images import named

from steelyard import LocalStore, MemoryStore, Store, digest_of
from steelyard.images import OCIDescriptor, check, convert, export_images, import_images

pytestmark = pytest.mark.anyio

NAME = "docker.io/library/demo:1"
INDEX, _, BLOBS = one_image([b"first layer", bytes(300_000), b"last layer"])
ARCHIVE = tar(layout(INDEX, BLOBS))
PIECE = 4096


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        async with MemoryStore() as memory:
            yield memory
    else:
        async with LocalStore(tmp_path / "store", durability="process-crash") as local:
            yield local


async def collect(store: Store) -> None:
    """Store a blob that nothing keeps, and remove it with all else that nothing keeps."""
    garbage = (await store.put(b"garbage")).digest
    await store.collect(grace=timedelta(0), ingest_age=timedelta(0))
    assert not await store.exists(garbage)


async def is_whole(store: Store) -> bool:
    return {await digest_of(each) for each in BLOBS} <= {info.digest async for info in store.walk()}


@pytest.mark.parametrize("stored", [0, 2])
async def test_an_import_keeps_what_it_has_stored_and_found(store: Store, stored: int) -> None:
    for each in BLOBS[len(BLOBS) - stored :]:
        await store.put(each)

    async def collecting() -> AsyncIterator[bytes]:
        for start in range(0, len(ARCHIVE), PIECE):
            if start % (8 * PIECE) == 0 or start + 3 * PIECE > len(ARCHIVE):
                await collect(store)
            yield ARCHIVE[start : start + PIECE]

    await import_images(store, collecting(), name=NAME)

    await collect(store)
    assert await is_whole(store)


class Collecting(ByteSendStream):
    """A target that removes the name and collects before it takes the next piece."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.taken = b""

    async def send(self, item: bytes) -> None:
        if not self.taken:
            await self.store.images.delete(NAME)
        await collect(self.store)
        self.taken += item

    async def aclose(self) -> None:
        pass


async def test_an_export_reads_to_its_end_an_image_that_lost_its_name(store: Store) -> None:
    await import_images(store, pieces(ARCHIVE), name=NAME)
    target = Collecting(store)
    await export_images(store, target, [NAME])

    await collect(store)
    assert [] == [info.digest async for info in store.walk()]
    async with MemoryStore() as other:
        await import_images(other, pieces(target.taken))
        assert await is_whole(other)


@pytest.mark.parametrize("swaps", [False, True])
async def test_a_conversion_keeps_what_it_reads_and_stores(store: Store, *, swaps: bool) -> None:
    await import_images(store, pieces(ARCHIVE), name=NAME)
    seen: list[OCIDescriptor] = []

    async def hook(descriptor: OCIDescriptor) -> OCIDescriptor:
        if not seen:
            await store.images.delete(NAME)
        seen.append(descriptor)
        await collect(store)
        if swaps and descriptor.digest == named(BLOBS[2])["digest"]:
            await store.put(b"replacement")
            return msgspec.structs.replace(
                descriptor, digest=str(await digest_of(b"replacement")), size=len(b"replacement")
            )
        return descriptor

    await convert(store, NAME, "docker.io/library/new:1", hooks=[hook])

    assert len(BLOBS) == len(seen)
    await collect(store)
    assert (await check(store, "docker.io/library/new:1")).complete
    assert swaps == await store.exists(await digest_of(b"replacement"))
    assert swaps != await is_whole(store)
