"""The main job against its yardsticks: put, get, verify and walk of large and of small blobs.

Each group holds the yardstick and the store, run one after the other on the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yardsticks
from anyio.from_thread import BlockingPortal
from conftest import LARGE_MIB, SMALL_FILES
from pytest_benchmark.fixture import BenchmarkFixture

from steelyard import Digest, LocalStore

ROUNDS = 5
NewFolder = Callable[[], Path]


def _rounds(benchmark: BenchmarkFixture, work: Callable[[Path], Any], new_folder: NewFolder) -> None:
    benchmark.pedantic(work, setup=lambda: ((new_folder(),), {}), rounds=ROUNDS, warmup_rounds=1)


async def _put_all(root: Path, files: list[Path], *, durable: bool = True) -> list[Digest]:
    digests = []
    async with LocalStore(root, durability="power-loss" if durable else "process-crash") as store:
        async for done in store.put_many(files):
            assert done.result is not None, done.error
            digests.append(done.result.digest)
    return digests


@pytest.mark.parametrize("durable", [True, False], ids=["synced", "unsynced"])
class TestPutOneLargeFile:
    @pytest.fixture(autouse=True)
    def group(self, benchmark: BenchmarkFixture, durable: bool) -> None:
        benchmark.group = f"put one file of {LARGE_MIB} MiB, {'synced' if durable else 'unsynced'}"

    def test_yardstick(
        self, benchmark: BenchmarkFixture, large_file: Path, new_folder: NewFolder, durable: bool
    ) -> None:
        _rounds(benchmark, lambda folder: yardsticks.copy([large_file], folder, durable=durable), new_folder)

    def test_store(
        self,
        benchmark: BenchmarkFixture,
        large_file: Path,
        new_folder: NewFolder,
        portal: BlockingPortal,
        durable: bool,
    ) -> None:
        _rounds(benchmark, lambda root: portal.call(lambda: _put_all(root, [large_file], durable=durable)), new_folder)


@pytest.mark.parametrize("durable", [True, False], ids=["synced", "unsynced"])
class TestPutManySmallFiles:
    @pytest.fixture(autouse=True)
    def group(self, benchmark: BenchmarkFixture, durable: bool) -> None:
        benchmark.group = f"put {SMALL_FILES} files of 4 KiB, {'synced' if durable else 'unsynced'}"

    def test_yardstick(
        self, benchmark: BenchmarkFixture, small_files: list[Path], new_folder: NewFolder, durable: bool
    ) -> None:
        _rounds(benchmark, lambda folder: yardsticks.copy(small_files, folder, durable=durable), new_folder)

    def test_store(
        self,
        benchmark: BenchmarkFixture,
        small_files: list[Path],
        new_folder: NewFolder,
        portal: BlockingPortal,
        durable: bool,
    ) -> None:
        _rounds(benchmark, lambda root: portal.call(lambda: _put_all(root, small_files, durable=durable)), new_folder)


@pytest.mark.benchmark(group=f"get one blob of {LARGE_MIB} MiB, verified")
class TestGet:
    def test_yardstick(self, benchmark: BenchmarkFixture, large_file: Path) -> None:
        benchmark(yardsticks.read, large_file)

    def test_store(
        self, benchmark: BenchmarkFixture, large_file: Path, new_folder: NewFolder, portal: BlockingPortal
    ) -> None:
        root = new_folder()
        [digest] = portal.call(lambda: _put_all(root, [large_file]))
        store = portal.call(_opened, root)
        try:
            benchmark(portal.call, store.get, digest)
        finally:
            portal.call(store.aclose)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_files: list[Path], portal: BlockingPortal) -> Path:
    """Give a store with the small files in it."""
    root = tmp_path_factory.mktemp("filled")
    portal.call(lambda: _put_all(root, small_files))
    return root


@pytest.mark.benchmark(group=f"read {SMALL_FILES} blobs of 4 KiB back")
class TestReadBack:
    def test_yardstick_verifies(self, benchmark: BenchmarkFixture, small_files: list[Path], tmp_path: Path) -> None:
        yardsticks.copy(small_files, tmp_path, durable=False)
        assert benchmark(yardsticks.verify, tmp_path) == SMALL_FILES

    def test_store_verifies_all(self, benchmark: BenchmarkFixture, root: Path, portal: BlockingPortal) -> None:
        async def verify() -> int:
            async with LocalStore(root) as store:
                return len([checked async for checked in store.verify_all()])

        assert benchmark(portal.call, verify) == SMALL_FILES

    def test_store_walks(self, benchmark: BenchmarkFixture, root: Path, portal: BlockingPortal) -> None:
        async def walk() -> int:
            async with LocalStore(root) as store:
                return len([info async for info in store.walk()])

        assert benchmark(portal.call, walk) == SMALL_FILES


async def _opened(root: Path) -> LocalStore:
    store = LocalStore(root)
    await store.aopen()
    return store
