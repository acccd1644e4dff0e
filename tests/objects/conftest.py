"""Servers of object storage, started once for each worker, on loopback; a bucket for each worker and a prefix for each test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from . import servers
from .bucket import Bucket, in_memory
from .s3 import KEYS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a class samples: of its tests, and of what a test is called with, each `one_of`th stays, but for those in `left_out`.

    With ``STEELYARD_OBJECT_CONTRACT=1`` all of them stay.
    """
    if os.environ.get("STEELYARD_OBJECT_CONTRACT"):
        return
    seen: Counter[object] = Counter()
    left_out = []
    for item in items:
        owner = getattr(item, "cls", None)
        seen[owner] += 1
        is_left_out = getattr(item, "originalname", "") in getattr(owner, "left_out", ())
        if is_left_out or seen[owner] % getattr(owner, "one_of", 1):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session")
def versitygw_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of versitygw."""
    return tmp_path_factory.mktemp("versitygw")


@pytest.fixture(scope="session")
def versitygw(versitygw_root: Path) -> Iterator[str]:
    """Run a versitygw, and return its URL."""
    with servers.versitygw(versitygw_root) as url:
        yield url


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a SeaweedFS, and return its URL."""
    with servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as url:
        yield url


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Run a moto, and return its URL."""
    with servers.moto() as url:
        yield url


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set the credentials of the servers, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture
def server(versitygw: str) -> str:
    """Return the URL of the server; a class of tests can have another one."""
    return versitygw


@pytest.fixture
def racers() -> int:
    """Return the number of writers that race when a server is checked: SeaweedFS answers one of them a second."""
    return 2


@pytest.fixture
def address(server: str, racers: int, keys: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a new, empty store. Its server is checked in one round: `test_servers.py` has the whole check."""
    del keys
    monkeypatch.setattr("steelyard.objects._probe._ROUNDS", 1)
    monkeypatch.setattr("steelyard.objects._probe._RACERS", racers)
    return f"s3://bucket/{uuid4().hex}?endpoint={server}"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Return an empty bucket in memory. All stores of the test are there; their pauses take no time, and their clocks agree."""
    return in_memory(monkeypatch)
