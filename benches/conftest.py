"""Where and on what a bench runs: a number without these says nothing."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
from anyio.from_thread import BlockingPortal

from steelyard import _native

LARGE_MIB = int(os.environ.get("STEELYARD_BENCH_LARGE_MIB", "64"))
SMALL_FILES = 2000
SMALL_BYTES = 4096
MIB = 1 << 20
FEW = 100


def pytest_configure() -> None:
    if _native.debug_build:
        pytest.exit("benches need an optimised extension: pip install -e .", returncode=2)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Write beside the numbers what they depend on."""
    del config
    machine_info["cores"] = os.cpu_count()
    machine_info["kernel"] = platform.release()
    machine_info["steelyard"] = _native.__version__
    machine_info["large_mib"] = LARGE_MIB


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """Hold an event loop open, so that starting one is not measured."""
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        yield portal


@pytest.fixture(scope="session")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random bytes, in the page cache: what is measured is the store, not the reading."""
    path = tmp_path_factory.mktemp("source") / "large"
    with path.open("wb") as file:
        for _ in range(LARGE_MIB):
            file.write(os.urandom(MIB))
        os.fsync(file.fileno())
    return path


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Many small files of random bytes, in the page cache."""
    folder = tmp_path_factory.mktemp("small")
    paths = [folder / f"{number:05}" for number in range(SMALL_FILES)]
    for path in paths:
        path.write_bytes(os.urandom(SMALL_BYTES))
    os.sync()
    return paths


@pytest.fixture(scope="session")
def used_folders() -> Iterator[list[Path]]:
    """Collect what the rounds wrote and remove folders of many files at the very end.

    After many deletions ext4 without a journal makes files five to thirty times as slowly for a while; a round that came
    after them would measure that. Folders of a few large files go at once: their pages are used again, where fresh ones
    would have to be had from the host of a virtual machine.
    """
    folders: list[Path] = []
    yield folders
    for folder in folders:
        shutil.rmtree(folder)


@pytest.fixture
def new_folder(tmp_path: Path, used_folders: list[Path]) -> Callable[[], Path]:
    """Give a new, empty folder for each round, when nothing that earlier rounds wrote is left for its syncs to flush."""
    numbers = itertools.count()

    def make() -> Path:
        for folder in [folder for folder in used_folders if len(list(folder.rglob("*"))) < FEW]:
            shutil.rmtree(folder)
            used_folders.remove(folder)
        folder = tmp_path / f"round-{next(numbers)}"
        folder.mkdir()
        used_folders.append(folder)
        os.sync()
        return folder

    return make
