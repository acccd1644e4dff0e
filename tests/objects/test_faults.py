"""Whatever happens to a request, a call succeeds or raises a typed error, and the store has no wrong bytes and loses none.

The long form, of which CONTRIBUTING.md has the command, fails each request of each call in each way: once, once with retries, and from
then on.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import anyio
import pytest

from steelyard.errors import AlreadyExists, LeaseExists, NotFound, SteelyardError
from steelyard.model import Descriptor
from steelyard.objects import ObjectStore
from steelyard.testing._collecting import document
from steelyard.testing._leasing import HOUR
from steelyard.testing._values import data_of, digest_of

from .canary import assert_no_secret
from .proxy import FAULTS, FaultProxy, fault_proxy

LONG = os.environ.get("STEELYARD_OBJECT_FAULTS") == "1"
"""Whether each request of each call fails in each way; otherwise some do."""

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.usefixtures("keys")]
if LONG:
    pytestmark.append(pytest.mark.timeout(1800))

SMALL, LARGE = data_of(3000, "small"), data_of((17 << 20) + 5, "large")
GARBAGE = document(layers=[digest_of(b"absent")])

Act = Callable[[ObjectStore], Awaitable[None]]


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
        await writer.write(LARGE[writer.offset :])
        with suppress(AlreadyExists):
            await writer.commit(labels={"a": "b"})


async def get(store: ObjectStore) -> None:
    assert SMALL == await store.get(digest_of(SMALL))


async def stream(store: ObjectStore) -> None:
    async with store.reader_at(digest_of(LARGE)) as reader, reader.stream() as received:
        assert LARGE == b"".join([piece async for piece in received])


async def read_at(store: ObjectStore) -> None:
    """It is not verified, so only its size is certain."""
    async with store.reader_at(digest_of(SMALL)) as reader:
        assert 10 == len(await reader.read_at(100, 10))


async def verify(store: ObjectStore) -> None:
    await store.verify(digest_of(SMALL), quarantine=False)


async def look(store: ObjectStore) -> None:
    infos = await store.infos([digest_of(SMALL), digest_of(LARGE)])
    assert infos.keys() <= {digest_of(SMALL)}
    await store.exists(digest_of(SMALL))


async def walk(store: ObjectStore) -> None:
    assert {info.digest async for info in store.walk("labels.a==b")} <= {digest_of(SMALL)}


async def label(store: ObjectStore) -> None:
    info = await store.info(digest_of(SMALL))
    changed = await store.update(type(info)(**{**_fields(info), "labels": {"a": "b", "c": "d"}}))
    assert {"a": "b", "c": "d"} == changed.labels


async def name(store: ObjectStore) -> None:
    await store.images.assign({"name": Descriptor(digest=digest_of(SMALL))}, overwrite=True)


async def names(store: ObjectStore) -> None:
    assert {image.name for image in await store.images.list()} <= {"name"}


async def unname(store: ObjectStore) -> None:
    with suppress(NotFound):
        await store.images.delete("name")


async def delete(store: ObjectStore) -> None:
    with suppress(NotFound):
        await store.delete(digest_of(SMALL))


async def upkeep(store: ObjectStore) -> None:
    await store.stats()
    assert [] == [each async for each in store.abort_uploads()]


async def lease(store: ObjectStore) -> None:
    with suppress(LeaseExists):
        await store.leases.create("lease", expires=HOUR)
    await store.leases.add("lease", digests=[digest_of(SMALL)], refs=["ref"])
    assert {lease.id for lease in await store.leases.list()} <= {"lease"}
    assert set((await store.leases.resources("lease")).blobs) <= {digest_of(SMALL)}


async def leased(store: ObjectStore) -> None:
    """Store and name a blob under a lease of its own."""
    async with store.lease() as under:
        await under.put(SMALL)
        await under.images.assign({"name": Descriptor(digest=digest_of(SMALL))}, overwrite=True)


async def unlease(store: ObjectStore) -> None:
    with suppress(NotFound):
        await store.leases.delete("lease")


async def collect(store: ObjectStore) -> None:
    """Labels and a document go, too."""
    assert (await store.collect(grace=timedelta(0))).kept.blobs == 1


def _fields(info: Any) -> dict[str, Any]:
    return {field: getattr(info, field) for field in info.__struct_fields__}


async def nothing(store: ObjectStore) -> None:
    del store


async def named(store: ObjectStore) -> None:
    await put(store)
    await name(store)


async def under_lease(store: ObjectStore) -> None:
    await put(store)
    await lease(store)


async def with_garbage(store: ObjectStore) -> None:
    await named(store)
    await store.put(GARBAGE, labels={"a": "b"})


class Call(NamedTuple):
    """A call, and what holds around it.

    Attributes:
        before: prepares the store; None leaves an ingest whose upload has some of its parts.
        act: the call; it can be repeated.
        had: the blobs that are stored before, which must be there whatever happens.
        has: the blobs that are stored when it has succeeded.
        changes: whether it changes the store.
        labels: the labels of `SMALL`, or of `LARGE` where that is made, when it has succeeded.
        is_kept: whether a collection without a grace time keeps what is stored when it has succeeded.
    """

    before: Act | None
    act: Act
    had: tuple[bytes, ...] = ()
    has: tuple[bytes, ...] = (SMALL,)
    changes: bool = True
    labels: dict[str, str] | None = None
    is_kept: bool = False


CALLS: dict[str, Call] = {
    "put": Call(nothing, put),
    "put again": Call(put_labelled, put, had=(SMALL,), labels={"a": "b"}),
    "put labelled": Call(nothing, put_labelled, labels={"a": "b"}),
    "commit": Call(nothing, commit, has=(LARGE,), labels={"a": "b"}),
    "resume": Call(None, commit, has=(LARGE,), labels={"a": "b"}),
    "get": Call(put, get, had=(SMALL,), changes=False),
    "stream": Call(commit, stream, had=(LARGE,), has=(LARGE,), changes=False),
    "read_at": Call(put, read_at, had=(SMALL,), changes=False),
    "verify": Call(put, verify, had=(SMALL,), changes=False),
    "look": Call(put_labelled, look, had=(SMALL,), changes=False, labels={"a": "b"}),
    "walk": Call(put_labelled, walk, had=(SMALL,), changes=False, labels={"a": "b"}),
    "label": Call(put_labelled, label, had=(SMALL,), labels={"a": "b", "c": "d"}),
    "name": Call(put, name, had=(SMALL,)),
    "names": Call(named, names, had=(SMALL,), changes=False),
    "unname": Call(named, unname, had=(SMALL,)),
    "delete": Call(put_labelled, delete, has=()),
    "upkeep": Call(put, upkeep, had=(SMALL,), changes=False),
    "lease": Call(put, lease, had=(SMALL,), is_kept=True),
    "leased": Call(nothing, leased, is_kept=True),
    "unlease": Call(under_lease, unlease, had=(SMALL,)),
    "collect": Call(with_garbage, collect, had=(SMALL,)),
}

# A collection finds what keeps blobs in listings alone, so it needs a server whose listings are right.
PAIRS = [pair for pair in itertools.product(CALLS, FAULTS) if pair != ("collect", "stale")][:: 1 if LONG else 5]
"""The calls and the faults. The number of faults has no divisor in common with 5, so each call and each fault is tried."""


class Plan(NamedTuple):
    """A fault of one run: it begins at a request, ends there or not, and the client tries again or not."""

    at: int
    lasting: bool
    retries: int


def plans(requests: int, seed: str) -> list[Plan]:
    """Return all runs for a call with so many requests, or one of them."""
    every = [
        Plan(at, lasting, retries)
        for lasting, retries in ((False, 0), (False, 2), (True, 0))
        for at in range(1, requests + 1)
    ]
    return every if LONG else [random.Random(seed).choice(every)]


@pytest.mark.parametrize(("call", "fault"), PAIRS)
async def test_a_fault_ends_in_success_or_a_typed_error(
    proxy: FaultProxy, tmp_path: Path, call: str, fault: str
) -> None:
    """The same call succeeds afterwards, and all that a call has acknowledged is there, and right."""
    proxy.plan(None)
    address, spool = f"s3://bucket/{uuid4().hex}?endpoint={proxy.address}", tmp_path / "spool"
    patience = 2 if fault in {"stalled", "unanswered"} else 20
    expected = CALLS[call]
    before, act, changes = expected.before, expected.act, expected.changes
    longest, runs = 0.0, 0
    async with (
        ObjectStore(address, spool=spool) as calm,
        ObjectStore(address, spool=spool, retries=0, timeout=patience) as once,
        ObjectStore(address, spool=spool, retries=2, timeout=patience) as again,
    ):
        if expected.is_kept:
            await calm.collect(grace=timedelta(0))  # the runs after the first one come after a collection, too
        await prepared(calm, once, proxy, before)
        await act(calm)
        chosen = plans(proxy.seen, call + fault)
        for plan in chosen:
            if changes:
                await prepared(calm, once, proxy, before)
            proxy.plan(fault, at=plan.at, lasting=plan.lasting)
            began, succeeded = time.monotonic(), False
            store = again if plan.retries else once
            try:
                with anyio.fail_after(120):
                    await act(store)
                succeeded = True
            except SteelyardError as error:
                assert_no_secret(error)
            longest, runs = max(longest, time.monotonic() - began), runs + 1
            proxy.plan(None)
            await checked(calm, expected, succeeded=succeeded)
            await act(store if act is collect else calm)  # another client may wait until a collection counts as ended
            await checked(calm, expected, succeeded=True)
    print(f"{call}, {fault}: {runs} runs, at most {longest:.1f} s")


async def prepared(calm: ObjectStore, once: ObjectStore, proxy: FaultProxy, before: Act | None) -> None:
    """Empty the store, and prepare it for a call; the proxy counts from here."""
    await forget_batches(calm)
    for status in await calm.list_statuses():
        await calm.abort(status.ref)
    for digest in map(digest_of, (SMALL, LARGE, GARBAGE)):
        if await calm.exists(digest):
            await calm.delete(digest)
    await unname(calm)
    await unlease(calm)
    if before is None:
        async with once.writer("large") as writer:
            await writer.write(LARGE)
            proxy.plan(
                "reset", at=5, lasting=True
            )  # after a look, the beginning and two parts, or the labels of the blob
            with pytest.raises(SteelyardError):
                await writer.commit()
    else:
        await before(calm)
    proxy.plan(None)


async def forget_batches(store: ObjectStore) -> None:
    """Remove what collections that failed have left, as the next one does when its time has passed: writers wait for it."""
    requests = store._require().requests
    for each in await requests.every("collecting/"):
        if "/batch-" in each.key:
            await requests.delete(each.key)


async def checked(store: ObjectStore, call: Call, *, succeeded: bool) -> None:
    """Check that the store shows nothing wrong, and has what it must have."""
    infos = {info.digest: info async for info in store.walk()}
    for digest, info in infos.items():
        assert digest in set(map(digest_of, (SMALL, LARGE, GARBAGE)))
        await store.verify(digest, quarantine=False)
        assert info == await store.info(digest)
    if succeeded and call.is_kept:
        await store.collect(grace=timedelta(0))
        infos = {info.digest: info async for info in store.walk()}
    if succeeded and call.act is collect:
        assert digest_of(GARBAGE) not in infos
    there = call.has if succeeded else call.had
    assert {digest_of(data) for data in there} <= infos.keys()
    if succeeded and not call.has:
        assert {} == infos
    if succeeded and call.labels is not None:
        assert call.labels == infos[digest_of(call.has[0])].labels


@pytest.mark.parametrize("fault", ["reset", "busy", "lost"])
async def test_a_server_that_stays_away_is_unreachable(proxy: FaultProxy, tmp_path: Path, fault: str) -> None:
    proxy.plan(None)
    address = f"s3://bucket/{uuid4().hex}?endpoint={proxy.address}"
    async with ObjectStore(address, spool=tmp_path / "spool", retries=1, timeout=5) as store:
        await store.put(SMALL)
        proxy.plan(fault, lasting=True)
        for call in (get, label, walk, name, delete):
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
