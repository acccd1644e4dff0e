"""Services on short paths, and plain gRPC clients of them: containerd's protocol, spoken by none of our own code."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from steelyard import LocalStore
from steelyard.containerd.service import Server


@pytest.fixture(scope="session", autouse=True)
def grpc_itself() -> Iterator[None]:
    """Keep gRPC's own descriptors and threads open, which come with its first object and go with its last."""
    server = grpc.server(None)  # type: ignore[arg-type]  # never started
    yield
    server.stop(None)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give a directory whose path leaves room for sockets, whose paths have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="sy-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
async def local_store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """Give a store on real files."""
    async with LocalStore(tmp_path / "store", durability="process-crash") as store:
        yield store


@pytest.fixture
async def service(local_store: LocalStore, short_path: Path) -> AsyncIterator[Server]:
    """Give a service of that store."""
    async with Server(local_store, short_path / "content.sock", grace_seconds=5) as server:
        yield server
