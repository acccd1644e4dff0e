"""Listing a `LocalStore`: pages come from the native core, ahead of their reader."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import msgspec
import pytest
from support.stalls import runs_of_another_task

from steelyard import Digest, Info, Labels, LocalStore

pytestmark = pytest.mark.anyio

COUNT = 2500
"""More than two pages."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("filled") / "store"

    async def fill() -> None:
        async with LocalStore(root, durability="process-crash") as store:
            for half in range(2):
                blobs = (f"blob {number}".encode() for number in range(half, COUNT, 2))
                async for _ in store.put_many(blobs, labels={"half": str(half)}):
                    pass

    anyio.run(fill)
    return root


@pytest.fixture
async def store(filled: Path) -> AsyncIterator[LocalStore]:
    async with LocalStore(filled) as store:
        yield store


async def test_every_blob_is_listed_once_in_order_and_as_info_says(store: LocalStore) -> None:
    seen = [info async for info in store.walk()]

    assert len(seen) == COUNT
    assert [info.digest for info in seen] == sorted({info.digest for info in seen})
    assert {info.digest: info for info in seen} == await store.infos(info.digest for info in seen)


async def test_what_is_listed_is_a_value_like_any_other(store: LocalStore) -> None:
    async with aclosing(store.walk()) as infos:
        info = await anext(infos)

    assert info == Info(
        digest=Digest.parse(str(info.digest)),
        size=info.size,
        created_at=info.created_at,
        updated_at=info.updated_at,
        labels=dict(info.labels),  # type: ignore[arg-type]  # any mapping is equal to it
    )
    assert hash(info.digest) == hash(Digest(info.digest.algorithm, info.digest.encoded))
    assert repr(info.digest) == f"Digest.parse('{info.digest}')"


async def test_others_run_while_a_large_store_is_listed(store: LocalStore) -> None:
    async def walk() -> None:
        for _ in range(3):
            assert len([info async for info in store.walk()]) == COUNT

    assert await runs_of_another_task(walk()) >= 3


async def test_a_walk_can_be_left_and_begun_again(store: LocalStore) -> None:
    for _ in range(20):
        async with aclosing(store.walk("labels.half==1")) as infos:
            assert (await anext(infos)).labels == {"half": "1"}
    assert len([info async for info in store.walk("labels.half==1")]) == COUNT // 2


async def test_a_cancelled_walk_ends(store: LocalStore) -> None:
    seen = 0
    with anyio.CancelScope() as scope:
        async for _ in store.walk():
            seen += 1
            scope.cancel()

    assert scope.cancelled_caught
    assert seen < COUNT


async def test_several_walks_at_once_are_independent(store: LocalStore) -> None:
    counts: list[int] = []

    async def walk(*filters: str) -> None:
        counts.append(len([info async for info in store.walk(*filters)]))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(walk)
            tasks.start_soon(walk, "labels.half==0")

    assert sorted(counts) == [COUNT // 2] * 5 + [COUNT] * 5


@pytest.mark.parametrize("ns", [0, 1, 999, -1, -999_999_999, -86_400_000_000_001, 10**18 + 1_234_567, 8 * 10**18])
async def test_times_of_any_file_are_listed_as_info_has_them(tmp_path: Path, ns: int) -> None:
    folder = tmp_path / "store" / "blobs" / "sha256"
    folder.mkdir(parents=True)
    file = folder / ("ab" * 32)
    file.touch()
    os.utime(file, ns=(0, ns))
    async with LocalStore(tmp_path / "store", read_only=True) as store:
        [info] = [info async for info in store.walk()]

        assert info == await store.info(info.digest)
        assert info.created_at.timestamp() == pytest.approx(ns // 1000 / 1e6, abs=1e-5)
        assert info.created_at.tzinfo is not None


async def test_an_updated_blob_is_listed_with_both_times(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        result = await store.put(b"x", labels={"a": "\u00fc"})
        before = await store.info(result.digest)
        updated = await store.update(msgspec.structs.replace(before, labels=Labels({"b": "2" * 4000})))
        [info] = [info async for info in store.walk()]

    assert info == updated
    assert info.created_at < info.updated_at
    assert info.labels == {"b": "2" * 4000}
