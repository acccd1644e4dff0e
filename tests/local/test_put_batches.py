"""Many puts at once share hops and flushes, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from steelyard import Digest, LocalStore, PutResult, UnexpectedDigest, UnexpectedSize
from steelyard.errors import InvalidLabel, StorageError

pytestmark = pytest.mark.anyio

OTHER = "sha256:" + "00" * 32


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    async with LocalStore(tmp_path / "store") as store:
        yield store


async def put_all(store: LocalStore, wanted: list[tuple[Any, dict[str, Any]]]) -> list[PutResult | Exception]:
    """Put all at the same time; each result or error in its place."""
    told: dict[int, PutResult | Exception] = {}

    async def one(number: int, source: Any, options: dict[str, Any]) -> None:
        try:
            told[number] = await store.put(source, **options)
        except Exception as error:  # noqa: BLE001  # it is looked at
            told[number] = error

    async with anyio.create_task_group() as tasks:
        for number, (source, options) in enumerate(wanted):
            tasks.start_soon(one, number, source, options)
    return [told[number] for number in range(len(wanted))]


async def test_each_put_has_its_own_options(store: LocalStore) -> None:
    wanted: list[tuple[Any, dict[str, Any]]] = [
        (b"plain", {}),
        (bytearray(b"blake"), {"algorithm": "blake3"}),
        (b"labelled", {"labels": {"a": "1"}}),
        (b"sized", {"size": 5}),
        (memoryview(b"expected"), {"expected": (await store.put(b"expected")).digest}),
        (b"", {}),
    ] * 30
    results = await put_all(store, wanted)

    assert all(isinstance(result, PutResult) for result in results), results
    for (source, options), result in zip(wanted, results, strict=True):
        assert isinstance(result, PutResult)
        assert result.digest.algorithm == options.get("algorithm", "sha256")
        assert await store.get(result.digest) == bytes(source)
        assert (await store.info(result.digest)).labels == options.get("labels", {})
    assert sum(result.new for result in results if isinstance(result, PutResult)) == 5


async def test_what_is_wrong_with_one_put_is_not_the_others_affair(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    wanted: list[tuple[Any, dict[str, Any]]] = [
        (b"wrong digest", {"expected": OTHER}),
        (b"wrong size", {"size": 3}),
        (b"wrong label", {"labels": {"": "x"}}),
        (tmp_path / "absent", {}),
        (tmp_path, {}),
        (tmp_path / "file", {}),
        (str(tmp_path / "file"), {"size": 4}),
        (b"good", {}),
    ]
    results = await put_all(store, wanted * 10)

    kinds = [
        UnexpectedDigest,
        UnexpectedSize,
        InvalidLabel,
        FileNotFoundError,
        IsADirectoryError,
        PutResult,
        UnexpectedSize,
        PutResult,
    ]
    assert [type(result) for result in results] == kinds * 10
    absent = results[3]
    assert isinstance(absent, OSError)
    assert not isinstance(absent, StorageError)
    assert absent.filename == str(tmp_path / "absent")
    assert (await store.stats()).blobs == 2


async def test_files_of_every_size_may_come_together(store: LocalStore, tmp_path: Path) -> None:
    sizes = [0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20, 9 << 20]
    paths = [tmp_path / str(size) for size in sizes]
    for size, path in zip(sizes, paths, strict=True):
        path.write_bytes(bytes([size % 251]) * size)

    results = await put_all(store, [(path, {}) for path in paths])

    assert [result.size for result in results if isinstance(result, PutResult)] == sizes
    for path, result in zip(paths, results, strict=True):
        assert isinstance(result, PutResult)
        assert await store.get(result.digest) == path.read_bytes()


async def test_the_same_bytes_at_once_are_new_to_one(store: LocalStore) -> None:
    results = await put_all(store, [(b"same", {"labels": {"who": str(number)}}) for number in range(100)])

    new = [number for number, result in enumerate(results) if isinstance(result, PutResult) and result.new]
    assert len(new) == 1
    [info] = [info async for info in store.walk()]
    assert info.labels == {"who": str(new[0])}


async def test_progress_is_reported_for_each(store: LocalStore) -> None:
    told: list[tuple[str, int]] = []

    def progress(progress: Any) -> None:
        told.append((progress.phase, progress.done))

    await put_all(store, [(bytes(size), {"on_progress": progress}) for size in range(20)])

    assert sorted(told) == [("commit", size) for size in range(20)]


async def test_puts_cancelled_together_leave_whole_blobs_or_nothing(store: LocalStore) -> None:
    blobs = {Digest.parse(result.digest) async for result in _all(store)}
    async with anyio.create_task_group() as tasks:
        for number in range(300):
            tasks.start_soon(store.put, f"cancelled {number}".encode())
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    seen = {info.digest async for info in store.walk()}
    assert blobs <= seen
    for digest in seen:
        assert await store.get(digest)
    assert await put_all(store, [(b"afterwards", {})])


async def _all(store: LocalStore) -> AsyncIterator[PutResult]:
    for result in await put_all(store, [(str(number).encode(), {}) for number in range(10)]):
        assert isinstance(result, PutResult)
        yield result


async def test_a_store_closed_under_its_puts_answers_them_all(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    await store.aopen()
    results: list[PutResult | Exception] = []

    async def puts() -> None:
        results.extend(await put_all(store, [(str(number).encode(), {}) for number in range(200)]))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(puts)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        await store.aclose()

    assert len(results) == 200
    async with LocalStore(tmp_path / "store") as again:
        stored = {info.digest async for info in again.walk()}
    assert {result.digest for result in results if isinstance(result, PutResult)} <= stored
