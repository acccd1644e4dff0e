"""`commit(verify=True)`: bytes that changed on the disk before a checkpoint are found, and never published."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from steelyard import DataCorrupt, LocalStore, digest_of

pytestmark = pytest.mark.anyio

DATA = b"0123456789" * 300_000


def damage(root: Path, offset: int) -> None:
    """Change a byte of the only ingest behind the store's back."""
    [path] = root.glob("ingest/*/data")
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"x")


@pytest.mark.parametrize("offset", [0, 1_234_567, len(DATA) // 2 - 1])
async def test_damage_before_the_checkpoint_is_found_and_the_ingest_stays(tmp_path: Path, offset: int) -> None:
    digest = await digest_of(DATA)
    async with LocalStore(tmp_path) as store:
        async with store.writer("ref") as writer:
            await writer.write(DATA[: len(DATA) // 2])
        damage(tmp_path, offset)
        for _ in range(2):
            async with store.writer("ref") as writer:
                await writer.write(DATA[writer.offset :])
                with pytest.raises(DataCorrupt) as caught:
                    await writer.commit(size=len(DATA), expected=digest, verify=True)
            assert str(digest) == caught.value.expected
            assert not await store.exists(digest)
            assert len(DATA) == (await store.status("ref")).offset

        await store.abort("ref")
        async with store.writer("ref") as writer:
            await writer.write(DATA)
            assert digest == (await writer.commit(verify=True)).digest
        assert DATA == await store.get(digest)


async def interrupted(store: LocalStore) -> None:
    async with store.writer("ref") as writer:
        await writer.write(DATA[: len(DATA) // 2])


async def test_a_put_that_verifies_stores_a_damaged_source_from_its_start(tmp_path: Path) -> None:
    digest = await digest_of(DATA)
    root, path = tmp_path / "store", tmp_path / "file"
    path.write_bytes(DATA)
    async with LocalStore(root) as store:
        for source in (path, DATA):
            await interrupted(store)
            damage(root, 5)
            assert (digest, True) == ((done := await store.put(source, ref="ref", verify=True)).digest, done.new)
            assert DATA == await store.get(digest)
            assert [] == await store.list_statuses()
            await store.delete(digest)


async def test_a_put_that_verifies_keeps_the_damaged_ingest_of_a_stream(tmp_path: Path) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield DATA

    async with LocalStore(tmp_path) as store:
        await interrupted(store)
        damage(tmp_path, 5)
        with pytest.raises(DataCorrupt):
            await store.put(stream(), ref="ref", verify=True)
        assert len(DATA) == (await store.status("ref")).offset
        await store.abort("ref")
        await interrupted(store)
        assert await digest_of(DATA) == (await store.put(stream(), ref="ref", verify=True)).digest
