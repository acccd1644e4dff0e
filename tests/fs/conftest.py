"""File systems of stores: on the disk, in memory, and in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import fsspec.asyn
import pytest
from objects import servers
from objects.s3 import KEYS
from trees.conftest import make_source

from steelyard import LocalStore, MemoryStore, Store
from steelyard.fs import SteelyardFileSystem
from steelyard.objects import ObjectStore
from steelyard.trees import put_tree

ResultT = TypeVar("ResultT")


@pytest.fixture(scope="session", autouse=True)
def fsspec_thread() -> None:
    """Start the thread of fsspec, which ends with the process, before the descriptors of the first test are counted."""
    fsspec.asyn.get_loop()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a versitygw, and return its URL."""
    with servers.versitygw(tmp_path_factory.mktemp("versitygw")) as url:
        yield url


@pytest.fixture(params=["local", "memory", pytest.param("objects", marks=pytest.mark.slow)])
def files(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SteelyardFileSystem]:
    """Give the file system of a new store, for blocking calls."""
    store: Store = LocalStore(tmp_path / "store", durability="process-crash")
    if request.param == "memory":
        store = MemoryStore()
    elif request.param == "objects":
        monkeypatch.setattr("steelyard.objects._probe._ROUNDS", 1)
        url = request.getfixturevalue("gateway")
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        store = ObjectStore(f"s3://bucket/{tmp_path.name}?endpoint={url}", spool=tmp_path / "spool")
    made = SteelyardFileSystem(store)
    with ExitStack() as stack:
        stack.callback(made.close)
        stack.callback(fsspec.asyn.sync, made.loop, store.aclose)
        yield made


def on_store(files: SteelyardFileSystem, function: Callable[..., Coroutine[Any, Any, ResultT]], *args: Any) -> ResultT:
    """Call a coroutine function with the store of a file system, in its event loop."""

    async def call() -> ResultT:
        return await function(await files._lazy.writing(), *args)

    result: ResultT = fsspec.asyn.sync(files.loop, call)
    return result


@pytest.fixture
def tree(files: SteelyardFileSystem, tmp_path: Path) -> SteelyardFileSystem:
    """Give a file system with the tree `work/tree`, of the files of `trees.conftest`."""
    on_store(files, partial(put_tree, path=make_source(tmp_path / "source"), name="work/tree", times=True))
    return files
