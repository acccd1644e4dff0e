"""Resume: a reopened ingest keeps its offset, and every continuation gives the same blob."""

from __future__ import annotations

import io

import pytest

from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.memory import MemoryStore
from steelyard.testing._values import begin, data_of, digest_of
from steelyard.transfer import copy, open_writer, write_blob

SIZES = (500, 5_000, 50_000)
CUTS = (0, 10, 50, 90, 100)
"""In percent of the size."""


@pytest.mark.anyio
class ResumingContract:
    """containerd's Resume, ResumeTruncate, ResumeDiscard, ResumeCopy, ResumeCopySeeker, ResumeCopyReaderAt."""

    @pytest.mark.parametrize("size", [2, 5_000, 3 << 20])
    async def test_a_reopened_writer_continues_where_the_last_one_stopped(self, store: Store, size: int) -> None:
        data = data_of(size)
        async with store.writer("ref", size=size) as writer:
            await writer.write(data[: size // 2])
            digest = await writer.digest()
            left = await writer.status()
        assert left == await store.status("ref")

        async with store.writer("ref") as writer:
            assert size // 2 == writer.offset
            assert digest == await writer.digest()
            assert left == await writer.status()
            await writer.write(data[writer.offset :])
            info = await writer.commit(size=size, expected=digest_of(data))
        assert data == await store.get(info.digest)

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("way", ["truncate", "rewrite", "tail", "plain", "seekable", "random"])
    async def test_every_way_of_going_on_ends_in_the_same_blob(self, store: Store, size: int, way: str) -> None:
        for cut in (size * percent // 100 for percent in CUTS):
            data = data_of(size, (way, size, cut))
            digest = digest_of(data)
            ref = f"{way} {size} {cut}"
            held = data if way == "truncate" else data[:cut]
            await begin(store, ref, held)
            assert len(held) == (await store.status(ref)).offset

            if way == "plain":
                await write_blob(store, iter([data[:100], data[100:]]), digest, ref=ref)
            elif way == "seekable":
                await write_blob(store, io.BytesIO(data), digest, ref=ref)
            elif way == "random":
                source = MemoryStore()
                await source.put(data)
                await copy(source, digest, store, ref=ref)
            else:
                async with store.writer(ref) as writer:
                    if way != "tail":
                        await writer.truncate(cut if way == "truncate" else 0)
                    await writer.write(data[writer.offset :])
                    await writer.commit(size=size, expected=digest)

            info = await store.info(digest)
            assert (size, digest) == (info.size, info.digest)
            assert data == await store.get(digest)
        assert [] == await store.list_statuses()

    async def test_a_resume_may_change_the_algorithm(self, store: Store) -> None:
        data = data_of(100_000)
        await begin(store, "ref", data[:60_000])
        for algorithm in Algorithm:
            async with store.writer("ref", algorithm=algorithm) as writer:
                assert digest_of(data[:60_000], algorithm) == await writer.digest()
        async with store.writer("ref") as writer:
            assert digest_of(data[:60_000], Algorithm.BLAKE3) == await writer.digest()
            await writer.write(data[60_000:])
            info = await writer.commit()

        assert digest_of(data, Algorithm.BLAKE3) == info.digest

    async def test_a_truncated_ingest_is_resumed_where_it_was_cut(self, store: Store) -> None:
        await begin(store, "ref", b"0123456789")
        async with store.writer("ref") as writer:
            await writer.truncate(4)
        async with store.writer("ref") as writer:
            assert 4 == writer.offset
            assert digest_of(b"0123") == await writer.digest()
            await writer.truncate(0)
        async with open_writer(store, "ref") as writer:
            assert 0 == writer.offset
            await writer.write(b"new")
            info = await writer.commit()

        assert b"new" == await store.get(info.digest)

    async def test_many_small_resumes_add_up(self, store: Store) -> None:
        data = data_of(200)
        for offset in range(0, 200, 10):
            async with store.writer("ref") as writer:
                assert offset == writer.offset
                await writer.write(data[offset : offset + 10])
        async with store.writer("ref") as writer:
            assert digest_of(data) == (await writer.commit(size=200)).digest
