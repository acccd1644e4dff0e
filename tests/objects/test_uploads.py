"""Unfinished uploads: which the server has, which an ingest goes on with, and which are abandoned and may be discarded."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from steelyard.digest import Digest
from steelyard.errors import NotFound, SteelyardError, Unsupported
from steelyard.objects import ObjectStore, UnfinishedUpload
from steelyard.objects._layout import blob_key
from steelyard.objects._requests import Requests
from steelyard.testing._values import data_of, digest_of

from .proxy import FaultProxy, fault_proxy

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.usefixtures("keys")]

DATA = data_of((17 << 20) + 5, "large")


@pytest.fixture
async def store(address: str, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(address, spool=tmp_path / "spool") as store:
        yield store


def requests_of(store: ObjectStore) -> Requests:
    return store._require().requests


async def begun(store: ObjectStore, digest: Digest) -> str:
    return await requests_of(store).begin(blob_key(digest))


def event_descriptors() -> set[str]:
    """Return the descriptors that wait for others, and those that wake what waits."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of this listing
            if "event" in str(descriptor.readlink()):
                found.add(descriptor.name)
    return found


async def listed(store: ObjectStore) -> list[UnfinishedUpload]:
    return [each async for each in store.uploads()]


def age(root: Path, upload: str, days: float) -> None:
    """Have the server believe that the upload is older: versitygw takes the time of its directory."""
    (directory,) = (path for path in (root / "bucket").rglob(upload))
    then = time.time() - days * 86400
    os.utime(directory, (then, then))


async def test_uploads_are_listed_over_pages(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of two, of which one begins in the middle of one key."""
    digests = sorted(digest_of(b"%d" % number) for number in range(3))
    expected = {(str(digest), await begun(store, digest)) for digest in digests for _ in range(2)}
    await requests_of(store).begin("other/key")
    await requests_of(store).begin("blobs/foreign")
    monkeypatch.setattr("steelyard.objects._requests.PAGE", 2)

    found = await listed(store)

    assert expected == {(str(each.digest), each.id) for each in found}
    assert len(expected) == len(found)
    for each in found:
        assert (None, False) == (each.ref, each.abandoned)
        assert abs(each.begun_at - datetime.now(UTC)) < timedelta(hours=1)


async def test_an_upload_of_an_ingest_is_not_abandoned_however_old_it_is(
    versitygw_root: Path, versitygw: str, tmp_path: Path
) -> None:
    """Its ref goes on with it; `abort` discards both."""
    with fault_proxy(versitygw) as proxy:
        store = await _interrupted(proxy, tmp_path)
        (upload,) = await listed(store)
        age(versitygw_root, upload.id, 30)
        (upload,) = await listed(store)
        assert (digest_of(DATA), "large", False) == (upload.digest, upload.ref, upload.abandoned)
        assert [] == [each async for each in store.abort_uploads()]
        await store.abort("large")
        assert [] == await listed(store)
        await store.aclose()


async def test_an_upload_whose_ingest_is_gone_is_abandoned(versitygw: str, tmp_path: Path) -> None:
    """It is of this spool: it is discarded with its note, whatever its age. Another spool leaves it alone."""
    with fault_proxy(versitygw) as proxy:
        store = await _interrupted(proxy, tmp_path)
        await store._require().spool.abort("large")  # as a kill between the two steps of `abort` leaves it
        (upload,) = await listed(store)
        assert (None, True) == (upload.ref, upload.abandoned)
        async with ObjectStore(store.address, spool=tmp_path / "other") as other:
            assert [False] == [each.abandoned for each in await listed(other)]
            assert [] == [each async for each in other.abort_uploads()]

        assert [upload] == [each async for each in store.abort_uploads()]

        assert [] == await listed(store)
        assert [] == list((store.spool / "uploads").iterdir())
        await store.aclose()


async def test_an_upload_of_another_spool_is_abandoned_after_seven_days(
    store: ObjectStore, versitygw_root: Path
) -> None:
    young, old = digest_of(b"young"), digest_of(b"old")
    names = {young: await begun(store, young), old: await begun(store, old)}
    age(versitygw_root, names[young], 6.9)
    age(versitygw_root, names[old], 7.1)

    assert [old] == [each.digest async for each in store.abort_uploads()]

    assert [young] == [each.digest for each in await listed(store)]


async def test_an_error_that_is_kept_keeps_no_descriptor(address: str, tmp_path: Path) -> None:
    """Its traceback has the request, which must not have the runtime."""
    before = event_descriptors()
    with pytest.raises(NotFound) as caught:
        async with ObjectStore(address, spool=tmp_path / "spool") as store:
            await store.info(digest_of(b"data"))
    assert caught.value.__traceback__ is not None
    for _ in range(3000):
        if event_descriptors() <= before:
            return
        await anyio.sleep(0.01)
    pytest.fail(f"left behind: {event_descriptors() - before}")


async def test_a_store_that_is_open_read_only_discards_nothing(store: ObjectStore, tmp_path: Path) -> None:
    async with ObjectStore(store.address, spool=tmp_path / "other", read_only=True) as other:
        with pytest.raises(Unsupported):
            other.abort_uploads()


async def test_the_server_says_its_name_and_its_time(store: ObjectStore) -> None:
    name, now = await requests_of(store).server()

    assert "versitygw" == (name or "").lower()
    assert now is not None
    assert abs(now / 1e9 - time.time()) < 3600


@pytest.mark.parametrize("fault", ["reset", "busy", "truncated"])
async def test_a_list_of_uploads_is_asked_for_again(versitygw: str, tmp_path: Path, fault: str) -> None:
    with fault_proxy(versitygw) as proxy:
        address = f"s3://bucket/{tmp_path.name}?endpoint={proxy.address}"
        async with ObjectStore(address, spool=tmp_path / "spool", retries=2) as store:
            expected = await begun(store, digest_of(b"data"))
            proxy.plan(fault)
            page, _ = await requests_of(store).uploads("blobs/")
            assert 1 == proxy.faults
            assert [expected] == [each.id for each in page]
            proxy.plan(fault, lasting=True)
            with pytest.raises(SteelyardError) as caught:
                await requests_of(store).uploads("blobs/")
            assert "unreachable" == caught.value.code
            assert 3 == proxy.faults
            proxy.plan(None)


async def _interrupted(proxy: FaultProxy, folder: Path) -> ObjectStore:
    """Return a store with an ingest whose upload has some parts and could not be completed."""
    proxy.plan(None)
    address = f"s3://bucket/{folder.name}?endpoint={proxy.address}"
    store = await ObjectStore(address, spool=folder / "spool", retries=0, timeout=10).aopen()
    async with store.writer("large") as writer:
        await writer.write(DATA)
        while not proxy.parts:
            proxy.plan("reset", at=5, lasting=True)  # look, announce nothing, begin, parts
            with pytest.raises(SteelyardError):
                await writer.commit()
    proxy.plan(None)
    return store
