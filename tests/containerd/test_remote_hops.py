"""The budget of thread hops of each call of a `RemoteStore`: a call waits for its server without a thread, and wakes the event loop once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from steelyard._runtime import calls
from steelyard.containerd import RemoteStore
from steelyard.containerd.service import Server
from steelyard.testing._values import data_of, digest_of

pytestmark = pytest.mark.anyio

DATA = data_of(4096)
LARGE = data_of(3 << 20)


@pytest.fixture
async def store(service: Server) -> AsyncIterator[RemoteStore]:
    async with RemoteStore(service.address) as store:
        await store.put(DATA)
        await store.put(LARGE)
        yield store


async def written(store: RemoteStore) -> None:
    async with store.writer("ref") as writer:
        await writer.write(data_of(1000))
        await writer.commit()


async def walked(store: RemoteStore) -> None:
    assert 2 <= len([info async for info in store.walk()])


# The service of the same process takes a hop where a ref becomes free.
BUDGETS: dict[str, tuple[int, Callable[[RemoteStore], Awaitable[Any]]]] = {
    "info": (1, lambda store: store.info(digest_of(DATA))),
    "get": (1, lambda store: store.get(digest_of(DATA))),
    "get of 3 MiB": (7, lambda store: store.get(digest_of(LARGE))),
    "put": (2, lambda store: store.put(b"new")),
    "put of what is there": (2, lambda store: store.put(DATA)),
    "writer": (6, written),
    "walk": (3, walked),
    "list_statuses": (1, lambda store: store.list_statuses()),
}


@pytest.mark.parametrize("name", BUDGETS)
async def test_a_call_takes_no_more_hops_than_its_budget(store: RemoteStore, name: str) -> None:
    most, call = BUDGETS[name]
    before = calls.counts()["hops"]
    await call(store)

    assert calls.counts()["hops"] - before <= most
