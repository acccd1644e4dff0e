"""Damage: every verified read detects it, `verify` quarantines the blob, and the right bytes repair it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from steelyard.content import Store
from steelyard.errors import AlreadyExists, DataCorrupt, NotFound
from steelyard.memory import MemoryStore
from steelyard.model import Progress
from steelyard.testing._values import data_of, digest_of, keep
from steelyard.transfer import copy

DATA = data_of(200_000)
DIGEST = digest_of(DATA)
DAMAGES = {
    "first byte": b"x" + DATA[1:],
    "last byte": DATA[:-1] + b"x",
    "shorter": DATA[:-1],
    "longer": DATA + b"x",
    "empty": b"",
}


@pytest.mark.anyio
class DamagingContract:
    """The rules for a blob whose stored bytes have changed."""

    async def damage(self, store: Any, digest: Any, data: bytes) -> None:
        """Replace the stored bytes of a blob without calling the store."""
        pytest.fail(
            f"override damage(): it must replace the stored bytes of {digest} in {store} by the {len(data)} given ones"
        )

    @pytest.mark.parametrize("kind", DAMAGES)
    async def test_damage_is_never_a_short_success(self, store: Store, kind: str) -> None:
        await keep(store, DATA)
        await self.damage(store, DIGEST, DAMAGES[kind])

        with pytest.raises(DataCorrupt, match=str(DIGEST)):
            await store.get(DIGEST)
        with pytest.raises(DataCorrupt):
            await copy(store, DIGEST, MemoryStore())
        with pytest.raises(DataCorrupt):  # noqa: PT012  # the opening may already detect a wrong size
            async with store.reader_at(DIGEST) as reader, reader.stream() as stream:
                while True:
                    try:
                        await stream.receive()
                    except anyio.EndOfStream:
                        pytest.fail("the stream of a damaged blob ended as if it were whole")

    @pytest.mark.parametrize("kind", DAMAGES)
    @pytest.mark.parametrize("way", ["put", "commit", "file"])
    async def test_the_same_bytes_heal_a_damaged_blob(self, store: Store, kind: str, way: str, tmp_path: Any) -> None:
        await keep(store, DATA, a="b")
        await self.damage(store, DIGEST, DAMAGES[kind])

        if way == "put":
            await store.put(DATA)
        elif way == "file":
            (tmp_path / "source").write_bytes(DATA)
            await store.put(tmp_path / "source")
        else:
            async with store.writer("ref") as writer:
                await writer.write(DATA)
                with pytest.raises(AlreadyExists):
                    await writer.commit()

        assert DATA == await store.get(DIGEST)
        assert len(DATA) == (await store.info(DIGEST)).size
        assert [] == await store.list_statuses()

    @pytest.mark.parametrize("kind", DAMAGES)
    async def test_verify_finds_damage_and_moves_the_blob_aside(self, store: Any, kind: str) -> None:
        await keep(store, DATA)
        seen: list[Progress] = []
        await store.verify(DIGEST, on_progress=seen.append)
        assert ("verify", len(DATA)) == (seen[-1].phase, seen[-1].done)

        await self.damage(store, DIGEST, DAMAGES[kind])
        with pytest.raises(DataCorrupt) as caught:
            await store.verify(DIGEST, quarantine=False)
        assert str(DIGEST) == caught.value.name
        assert await store.exists(DIGEST)
        with pytest.raises(DataCorrupt):
            await store.verify(str(DIGEST))

        assert not await store.exists(DIGEST)
        with pytest.raises(NotFound):
            await store.verify(DIGEST)
        assert (await store.put(DATA)).new
        await store.verify(DIGEST)

    async def test_verify_all_reports_every_blob(self, store: Any) -> None:
        digests = [await keep(store, b"%d" % number) for number in range(20)] + [await keep(store, DATA)]
        await self.damage(store, DIGEST, DAMAGES["first byte"])

        for quarantine, count in ((False, 21), (True, 21), (True, 20)):
            found = {result.digest: result async for result in store.verify_all(quarantine=quarantine)}
            assert set(digests[:count]) == set(found)
            damaged = [result for result in found.values() if result.error is not None]
            assert [DIGEST] * (count - 20) == [result.digest for result in damaged]
            assert all(isinstance(result.error, DataCorrupt) for result in damaged)

    async def test_verify_all_goes_on_where_it_was_left(self, store: Any) -> None:
        digests = {await keep(store, b"%d" % number) for number in range(20)}
        seen = set()
        results = store.verify_all(concurrency=1)
        async for result in results:
            seen.add(result.digest)
            if len(seen) == 5:
                break
        await results.aclose()
        rest = {result.digest async for result in store.verify_all(resume=True)}

        assert digests == seen | rest
        assert len(rest) < len(digests)
        assert digests == {result.digest async for result in store.verify_all(resume=True)}
