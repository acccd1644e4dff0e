"""Collections of a store in memory, beyond the contract, and their repetition in a service."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from steelyard._archive._references import DOCUMENT_LIMIT
from steelyard._collecting import marks as mark
from steelyard._collecting.labels import EXPIRE, ROOT
from steelyard.base import BaseStore
from steelyard.collection import Collected, collect_every
from steelyard.containerd import RemoteStore
from steelyard.digest import Digest
from steelyard.errors import (
    CollectionBusy,
    CollectionRefused,
    DataCorrupt,
    InvalidArgument,
    StorageError,
    Unsupported,
)
from steelyard.local import LocalStore
from steelyard.memory import MemoryStore
from steelyard.memory import _blob as blobs
from steelyard.model import Descriptor
from steelyard.testing._collecting import INDEX, MANIFEST, collect, document, name, stored
from steelyard.testing._leasing import expired
from steelyard.testing._values import data_of, digest_of, keep

pytestmark = pytest.mark.anyio

AT_ONCE = timedelta(0)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
async def test_a_lease_that_expired_has_an_event_when_a_collection_runs(
    tmp_path: Path, kind: type[LocalStore | MemoryStore]
) -> None:
    async with (
        LocalStore(tmp_path / "store") if kind is LocalStore else MemoryStore() as store,
        store.events("type==lease_ended") as events,
    ):
        lease = await expired(store)
        for dry_run in (True, False, False):
            await store.collect(dry_run=dry_run)
        await store.leases.create("a", expires=HOUR)
        await store.leases.delete("a")

        assert [lease, "a"] == [(await anext(events)).lease for _ in range(2)]


async def test_what_was_read_last_goes_last() -> None:
    store = MemoryStore()
    kept = [await keep(store, data_of(1000, number)) for number in range(3)]
    await store.get(kept[0])
    assert {kept[1]} == (await collect(store, max_bytes=2000))[1]

    await store.put(data_of(1000, 2))
    assert {kept[0]} == (await collect(store, max_bytes=1000))[1]


async def test_a_damaged_document_ends_the_collection() -> None:
    """Its true bytes may have named anything."""
    for media_type, damaged in ((MANIFEST, b"{}"), (MANIFEST, b"no JSON"), (None, b"{}")):
        store = MemoryStore()
        blob, garbage = await keep(store, b"blob"), await keep(store, b"garbage")
        manifest = await keep(store, document(layers=[blob]))
        await name(store, "name", manifest, media_type)
        store._blobs[manifest].data = damaged
        for call in (store.collect(grace=AT_ONCE), store.why(blob)):
            with pytest.raises(DataCorrupt) as caught:
                await call
            assert manifest == caught.value.digest

        assert {blob, garbage, manifest} == await stored(store)


async def test_a_document_that_is_too_large_ends_the_collection() -> None:
    store = MemoryStore()
    large = b"{" + b" " * DOCUMENT_LIMIT + b"}"
    index = document(manifests=[{"digest": str(digest_of(large)), "mediaType": MANIFEST}])
    await name(store, "name", await keep(store, index), INDEX)
    await keep(store, large)
    with pytest.raises(CollectionRefused, match=str(digest_of(large))) as caught:
        await store.collect(grace=AT_ONCE)

    assert "document" == caught.value.cause
    assert 2 == len(await stored(store))


async def test_two_collections_of_a_store_do_not_run_at_once() -> None:
    store = MemoryStore()
    for number in range(2000):  # many steps
        await keep(store, b"%d" % number)
    found: list[Exception | Collected] = []

    async def second() -> None:
        try:
            found.append(await store.collect(grace=AT_ONCE))
        except CollectionBusy as error:
            found.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(second)
        tasks.start_soon(second)

    (busy,) = [each for each in found if isinstance(each, CollectionBusy)]
    assert "this process" in str(busy)
    assert [2000] == [each.blobs for each in found if isinstance(each, Collected)]
    assert 0 == (await store.collect()).blobs


async def test_a_clock_that_jumps_ahead_ends_no_grace_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + timedelta(days=365)

    store = MemoryStore()
    digest = await keep(store, b"data")
    future = await keep(store, b"future")
    expires = (mark.now_at_least() + HOUR).isoformat()
    await name(store, "name", future, **{EXPIRE: expires})
    async with store.writer("ref") as writer:
        await writer.write(b"data")
    await store.collect(grace=HOUR)
    for module in (mark, blobs):
        monkeypatch.setattr(module, "datetime", Ahead)
    result, gone = await collect(store, grace=HOUR)

    assert (set(), 0) == (gone, result.ingests)
    assert {digest, future} == await stored(store)


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "2020-W01-1T00:00:00Z",
        "20200101T000000Z",
        "2020-01-01 00:00:00Z",
        "2020-01-01T00:00:00+00",
        "2020-01-01T00:00:00+24:00",
        "2020-01-01T00:00:00,5Z",
        "2020-01-01T00:00:00.1234567890Z",
        "2020-01-01t00:00:00z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
    ],
)
async def test_a_time_that_has_not_passed_or_is_none_of_rfc_3339_keeps_its_blob(
    tmp_path: Path, kind: type[LocalStore | MemoryStore], text: str
) -> None:
    async with LocalStore(tmp_path / "store") if kind is LocalStore else MemoryStore() as store:
        digest = (await store.put(b"data", labels={ROOT: "1", EXPIRE: text})).digest
        result, gone = await collect(store, grace=AT_ONCE)

        assert (1, set()) == (result.kept.labels, gone)
        assert (await store.why(digest)).root is not None


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "1600-01-01T00:00:00-23:59", "2020-01-01T00:00:00.123456789+01:00"]
)
async def test_a_time_that_has_passed_does_not_keep_its_blob(
    tmp_path: Path, kind: type[LocalStore | MemoryStore], text: str
) -> None:
    async with LocalStore(tmp_path / "store") if kind is LocalStore else MemoryStore() as store:
        digest = (await store.put(b"data", labels={ROOT: "1", EXPIRE: text})).digest

        assert {digest} == (await collect(store, grace=AT_ONCE))[1]


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
async def test_the_longest_times_remove_nothing(tmp_path: Path, kind: type[LocalStore | MemoryStore]) -> None:
    async with LocalStore(tmp_path / "store") if kind is LocalStore else MemoryStore() as store:
        await keep(store, b"data")
        async with store.writer("ref") as writer:
            await writer.write(b"data")
        await store.collect()
        result, gone = await collect(store, grace=timedelta.max, ingest_age=timedelta.max)

        assert (0, set()) == (result.ingests, gone)


async def test_a_store_behind_containerd_leaves_it_to_containerd() -> None:
    store = RemoteStore("/nowhere.sock")
    for call in (store.collect(), store.why(digest_of(b""))):
        with pytest.raises(Unsupported, match=r"nowhere.*containerd"):
            await call


async def test_a_store_that_does_not_collect_says_so() -> None:
    class Plain(MemoryStore):
        _collect = BaseStore._collect
        _reasons = BaseStore._reasons

    store = Plain()
    digest = await keep(store, b"data")
    for call in (store.collect(), store.why(digest), store.reasons([digest])):
        with pytest.raises(Unsupported):
            await call


class Scripted(MemoryStore):
    """A store whose collections give what a list says."""

    def __init__(self, *results: Collected | Exception) -> None:
        super().__init__()
        self.results = list(results)
        self.options: list[Any] = []
        self.ended = anyio.Event()

    async def _collect(self, options: Any) -> Collected:
        self.options.append(options)
        await anyio.lowlevel.checkpoint()
        result = self.results.pop(0) if self.results else Collected()
        if not self.results:
            self.ended.set()
        if isinstance(result, Exception):
            raise result
        return result


async def test_collections_are_repeated_until_they_are_cancelled() -> None:
    busy, failed = CollectionBusy("process 1"), StorageError(5, operation="read")
    store = Scripted(Collected(blobs=1), busy, failed, Collected(blobs=2), Collected(blobs=3))
    results: list[int] = []
    errors: list[Exception] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            lambda: collect_every(
                store,
                timedelta(milliseconds=1),
                grace=HOUR,
                max_bytes=5,
                on_collected=lambda each: results.append(each.blobs),
                on_error=errors.append,
            )
        )
        await store.ended.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert [1, 2, 3] == results[:3]
    assert [failed] == errors
    assert {(HOUR, 5)} == {(options.grace, options.max_bytes) for options in store.options}


async def test_an_error_ends_the_repetition_unless_it_is_handled() -> None:
    with pytest.raises(StorageError):
        await collect_every(Scripted(StorageError(5, operation="read")), timedelta(milliseconds=1))
    for options in ({"interval": AT_ONCE}, {"interval": HOUR, "grace": -HOUR}, {"interval": HOUR, "max_bytes": -1}):
        with pytest.raises(InvalidArgument):
            await collect_every(MemoryStore(), **options)


async def test_a_service_collects_while_it_works() -> None:
    store = MemoryStore()
    digest = await keep(store, b"garbage")
    async with anyio.create_task_group() as tasks:

        def end(collected: Collected) -> None:
            assert 1 == collected.blobs
            tasks.cancel_scope.cancel()

        tasks.start_soon(lambda: collect_every(store, timedelta(milliseconds=1), grace=AT_ONCE, on_collected=end))

    assert not await store.exists(digest)


async def test_references_of_a_digest_that_is_known_twice_count_once() -> None:
    store = MemoryStore()
    blob = await keep(store, b"blob")
    manifest = await keep(store, document(layers=[blob, blob], config=blob, subject=blob))
    await store.images.create("name", Descriptor(digest=Digest.parse(str(manifest))))
    assert 2 == (await store.collect(grace=AT_ONCE)).kept.image_names

    await store.images.delete("name")
    assert 2 == (await store.collect(grace=AT_ONCE)).blobs
