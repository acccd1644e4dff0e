"""Whatever happens to a request, a call succeeds or raises a typed error, and the store has no wrong bytes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from steelyard.errors import AlreadyExists, NotFound, SteelyardError
from steelyard.model import Descriptor
from steelyard.objects import ObjectStore
from steelyard.testing._values import data_of, digest_of

from .canary import assert_no_secret
from .proxy import FAULTS, FaultProxy, fault_proxy

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.usefixtures("keys")]

EVERY = int(os.environ.get("STEELYARD_OBJECT_FAULTS", "40"))
"""One of so many requests of a call fails in a run; 1 tries all, for which CONTRIBUTING.md has the command."""

SMALL, LARGE = data_of(3000, "small"), data_of((17 << 20) + 5, "large")


@pytest.fixture
def anyio_backend() -> str:
    """Give one event loop: faults reach both in the same way, and the contract suite runs on both."""
    return "asyncio"


@pytest.fixture(scope="module")
def proxy(versitygw: str) -> Iterator[FaultProxy]:
    with fault_proxy(versitygw) as running:
        yield running


async def put(store: ObjectStore) -> None:
    result = await store.put(SMALL)
    assert digest_of(SMALL) == result.digest


async def put_labelled(store: ObjectStore) -> None:
    await store.put(SMALL, labels={"a": "b"})


async def commit(store: ObjectStore) -> None:
    async with store.writer("large") as writer:
        await writer.truncate(0)
        await writer.write(LARGE)
        try:
            await writer.commit(labels={"a": "b"})
        except AlreadyExists:
            return


async def read(store: ObjectStore) -> None:
    assert SMALL == await store.get(digest_of(SMALL))


async def stream(store: ObjectStore) -> None:
    async with store.reader_at(digest_of(LARGE)) as reader, reader.stream() as received:
        assert LARGE == b"".join([piece async for piece in received])


async def walk(store: ObjectStore) -> None:
    assert [digest_of(SMALL)] == [info.digest async for info in store.walk("labels.a==b")]


async def label(store: ObjectStore) -> None:
    info = await store.info(digest_of(SMALL))
    changed = await store.update(type(info)(**{**_fields(info), "labels": {"a": "b", "c": "d"}}))
    assert {"a": "b", "c": "d"} == changed.labels


async def name(store: ObjectStore) -> None:
    await store.images.assign({"name": Descriptor(digest=digest_of(SMALL))}, overwrite=True)


async def delete(store: ObjectStore) -> None:
    await store.delete(digest_of(SMALL))


def _fields(info: Any) -> dict[str, Any]:
    return {field: getattr(info, field) for field in info.__struct_fields__}


async def nothing(store: ObjectStore) -> None:
    del store


CALLS: dict[str, tuple[Callable[[ObjectStore], Awaitable[None]], Callable[[ObjectStore], Awaitable[None]]]] = {
    "put": (nothing, put),
    "put_labelled": (nothing, put_labelled),
    "commit": (nothing, commit),
    "read": (put, read),
    "stream": (commit, stream),
    "walk": (put_labelled, walk),
    "label": (put_labelled, label),
    "name": (put, name),
    "delete": (put_labelled, delete),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_fault_ends_in_success_or_a_typed_error(
    proxy: FaultProxy, tmp_path: Path, call: str, fault: str
) -> None:
    """Requests of the call fail, one in each run; the same call succeeds afterwards."""
    before, act = CALLS[call]
    proxy.plan(None)
    address = f"s3://bucket/{uuid4().hex}?endpoint={proxy.address}"
    seed = sum(map(ord, call + fault))
    async with ObjectStore(address, spool=tmp_path / "first", retries=2, timeout=10) as store:
        for number in itertools.count(1 + seed % EVERY, EVERY):
            await _emptied(store)
            await before(store)
            proxy.plan(fault, at=number)
            try:
                await act(store)
            except (SteelyardError, NotFound) as error:
                print(call, fault, number, repr(error))
                assert_no_secret(error)
            hit = proxy.faults
            proxy.plan(None)
            await _checked(store)
            if call != "delete" or await store.exists(digest_of(SMALL)):
                await act(store)
            await _checked(store)
            if not hit:
                return


async def _emptied(store: ObjectStore) -> None:
    for digest in (digest_of(SMALL), digest_of(LARGE)):
        if await store.exists(digest):
            await store.delete(digest)


async def _checked(store: ObjectStore) -> None:
    """Check that the store shows nothing wrong."""
    infos = [info async for info in store.walk()]
    for info in infos:
        assert info.digest in {digest_of(SMALL), digest_of(LARGE)}
        await store.verify(info.digest, quarantine=False)
        assert info == await store.info(info.digest)


@pytest.mark.parametrize("fault", ["reset", "busy", "lost"])
async def test_a_server_that_stays_away_is_unreachable(proxy: FaultProxy, tmp_path: Path, fault: str) -> None:
    proxy.plan(None)
    address = f"s3://bucket/{uuid4().hex}?endpoint={proxy.address}"
    async with ObjectStore(address, spool=tmp_path / "spool", retries=1, timeout=5) as store:
        await store.put(SMALL)
        proxy.plan(fault, lasting=True)
        for call in (read, label, walk, name, delete):
            with pytest.raises(SteelyardError) as caught:
                await call(store)
            assert "unreachable" == caught.value.code
            assert_no_secret(caught.value)
        with anyio.move_on_after(30) as scope:
            with pytest.raises(SteelyardError):
                await store.put(data_of(10, "other"))
        assert not scope.cancelled_caught
        proxy.plan(None)
        assert SMALL == await store.get(digest_of(SMALL))
