"""Services on short paths, and plain gRPC clients of them: containerd's protocol, spoken by none of our own code."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from anyio.from_thread import start_blocking_portal
from foreign.programs import Ctr

from steelyard import LocalStore, MemoryStore
from steelyard.containerd.service import Server

from .clock import Clock
from .proxied import VERSIONS, Proxied, programs_of, proxied
from .wire import Wire, wire

_numbers = itertools.count()


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


@pytest.fixture
def clock(caplog: pytest.LogCaptureFixture) -> Clock:
    """Give a way to wait until services of this process end idle calls."""
    return Clock(caplog)


@pytest.fixture(params=["local", "memory-asyncio", "memory-trio"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give a kind of store: one that is called directly, and one through the event loop of each backend."""
    name: str = request.param
    return name


@pytest.fixture
def own_collector() -> bool:
    """Say whether the service is for a store that collects its own garbage."""
    return False


@pytest.fixture
def served(kind: str, tmp_path: Path, short_path: Path, *, own_collector: bool) -> Iterator[Server]:
    """Give a service whose event loop runs on another thread, for tests that block."""

    @asynccontextmanager
    async def serve() -> AsyncIterator[Server]:
        async with AsyncExitStack() as stack:
            store: LocalStore | MemoryStore
            if kind == "local":
                store = await stack.enter_async_context(LocalStore(tmp_path / "store", durability="process-crash"))
            else:
                store = await stack.enter_async_context(MemoryStore())
            server = Server(store, short_path / "content.sock", grace_seconds=5, own_collector=own_collector)
            yield await stack.enter_async_context(server)

    backend = kind.partition("-")[2] or "asyncio"
    with start_blocking_portal(backend) as portal, portal.wrap_async_context_manager(serve()) as server:
        yield server


@pytest.fixture
def content(served: Server) -> Iterator[Wire]:
    """Give a client of that service."""
    with wire(served.address) as connected:
        yield connected


@pytest.fixture(scope="module", params=VERSIONS)
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """Give a real containerd that has its content in our store: one of each version."""
    with proxied(tmp_path_factory.mktemp("proxied"), programs_of(request.param)) as running:
        yield running


@pytest.fixture
def ctr(system: Proxied) -> Ctr:
    """Give its client, in a namespace that no other test has."""
    return system.ctr(f"test-{next(_numbers)}")
