"""`put_many` in a bucket: the small sources go in batches, whose blobs share a look, and each has a result of its own."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from steelyard._native import ObjectClient
from steelyard.errors import LeaseEnded, ServerRefused, SteelyardError, Unreachable
from steelyard.model import Progress, PutManyResult, Sources
from steelyard.objects import ObjectStore
from steelyard.objects._layout import BLOBS, blob_key
from steelyard.objects._requests import MARKED, Requests
from steelyard.testing._collecting import AT_ONCE, document
from steelyard.testing._leasing import HOUR
from steelyard.testing._values import data_of, digest_of

from .bucket import Bucket, BucketRequests

pytestmark = pytest.mark.anyio

NEW, OLD, DAMAGED, REFUSED = (data_of(100, name) for name in ("new", "old", "damaged", "refused"))


class Asked:
    """The requests that a bucket was asked; those for the objects in `refused` fail, those in `stuck` have no end."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.count: Counter[tuple[str, str]] = Counter()
        self.refused: set[str] = set()
        self.stuck: set[str] = set()
        self.waiting: set[str] = set()
        self.all_wait = anyio.Event()
        bucket.before = self._before

    async def _before(self, client: BucketRequests, name: str, key: str) -> None:
        self.count[name, key.partition("/")[0]] += 1
        if key in self.refused:
            raise ServerRefused(client.address, reason="full")
        if key in self.stuck:
            self.waiting.add(key)
            if self.waiting == self.stuck:
                self.all_wait.set()
            await anyio.sleep_forever()


@pytest.fixture
def asked(bucket: Bucket) -> Asked:
    return Asked(bucket)


@pytest.fixture
async def store(asked: Asked, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with ObjectStore("s3://bucket/prefix", spool=tmp_path / "spool") as store:
        await store.put(b"first")  # which looks whether there are collections
        asked.count.clear()
        yield store


async def put_many(store: ObjectStore, sources: Sources, **arguments: Any) -> list[PutManyResult]:
    async with aclosing(store.put_many(sources, errors="yield", **arguments)) as results:
        return sorted([result async for result in results], key=lambda result: result.index)


async def test_each_blob_of_a_batch_has_its_own_end(store: ObjectStore, asked: Asked) -> None:
    """One is new, one is stored, one has an object of another program at its key, and one is refused."""
    asked.bucket.write(blob_key(digest_of(OLD)), OLD)
    asked.bucket.write(blob_key(digest_of(DAMAGED)), b"other bytes", is_ours=False)
    asked.refused.add(blob_key(digest_of(REFUSED)))

    new, old, damaged, refused = await put_many(store, [NEW, OLD, DAMAGED, REFUSED])

    assert [True, False, False] == [each.result.new for each in (new, old, damaged)]
    assert [digest_of(NEW), digest_of(OLD), digest_of(DAMAGED)] == [each.result.digest for each in (new, old, damaged)]
    assert isinstance(refused.error, ServerRefused)
    for data in (NEW, OLD, DAMAGED):
        assert data == await store.get(digest_of(data))
    asked.refused.clear()
    assert not await store.exists(digest_of(REFUSED))


async def test_a_batch_takes_a_request_for_each_blob_and_a_look(store: ObjectStore, asked: Asked) -> None:
    sources = [data_of(4096, number) for number in range(16)]

    results = await put_many(store, sources)

    assert [digest_of(data) for data in sources] == [each.result.digest for each in results]
    assert {("put", "blobs"): 16, ("list", "collecting"): 1} == asked.count


async def test_the_blobs_of_a_batch_are_on_their_way_together(store: ObjectStore, asked: Asked) -> None:
    sources = [data_of(4096, number) for number in range(16)]
    asked.stuck |= {blob_key(digest_of(data)) for data in sources}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put_many, store, sources)
        with anyio.fail_after(60):
            await asked.all_wait.wait()
        tasks.cancel_scope.cancel()

    assert 16 == asked.count["put", "blobs"]
    asked.stuck.clear()
    assert all(each.result.new for each in await put_many(store, sources))


async def test_files_are_read_together_and_a_missing_one_fails_alone(
    store: ObjectStore, asked: Asked, tmp_path: Path
) -> None:
    contents = [data_of(size, "file") for size in (10, 100, MARKED, MARKED + 1)]
    paths = [tmp_path / f"{len(data)}" for data in contents]
    for path, data in zip(paths, contents, strict=True):
        path.write_bytes(data)

    *stored, missing = await put_many(store, [*paths, tmp_path / "missing"])

    assert [digest_of(data) for data in contents] == [each.result.digest for each in stored]
    assert isinstance(missing.error, FileNotFoundError)
    assert [path.name for path in paths] == [Path(each.source).name for each in stored]
    assert {("put", "blobs"): 4, ("list", "collecting"): 2} == asked.count


async def test_a_document_notes_what_it_names_before_it_is_stored(store: ObjectStore, asked: Asked) -> None:
    """It goes by itself: it waits for every batch of a collection, which the blobs beside it need not."""
    manifest = document(layers=[digest_of(NEW)])

    results = await put_many(store, [NEW, manifest])

    assert [True, True] == [each.result.new for each in results]
    assert {("put", "documents"): 1, ("put", "blobs"): 2, ("list", "collecting"): 2} == asked.count


async def test_a_batch_has_the_labels_of_the_call(store: ObjectStore) -> None:
    sources = [data_of(100, number) for number in range(5)]

    for result in await put_many(store, sources, labels={"a": "b"}):
        assert result.result.new
        assert {"a": "b"} == (await store.info(result.result.digest)).labels


async def test_progress_and_events_are_those_of_each_blob(store: ObjectStore) -> None:
    sources = [data_of(100, number) for number in range(5)]
    seen: list[Progress] = []

    async with store.events() as events:
        await put_many(store, [*sources, sources[0]], on_progress=seen.append)
        created = {(await anext(events)).digest for _ in sources}

    assert {digest_of(data) for data in sources} == created
    assert [("write", 100)] * 6 + [("commit", 100)] * 6 == [(each.phase, each.done) for each in seen]


@pytest.mark.parametrize("phase", ["write", "commit"])
async def test_a_progress_function_that_raises_fails_one_source(store: ObjectStore, asked: Asked, phase: str) -> None:
    sources = [data_of(100, number) for number in range(5)]
    calls = 0

    def report(progress: Progress) -> None:
        nonlocal calls
        calls += progress.phase == phase
        if progress.phase == phase and calls == 3:
            raise ValueError

    results = await put_many(store, sources, on_progress=report)

    assert [None, None, ValueError, None, None] == [each.error and type(each.error) for each in results]
    assert (5 if phase == "commit" else 4) == asked.count["put", "blobs"]


async def test_bytes_that_the_caller_changes_are_stored_as_they_were(store: ObjectStore, asked: Asked) -> None:
    source = bytearray(NEW)

    async def change(client: BucketRequests, name: str, key: str) -> None:
        del client, name, key
        source[:] = bytes(len(source))

    asked.bucket.before = change
    [result] = await put_many(store, [source])

    assert digest_of(NEW) == result.result.digest
    assert NEW == await store.get(digest_of(NEW))


async def test_a_batch_enters_the_lease_before_it_is_stored(store: ObjectStore, asked: Asked) -> None:
    sources = [data_of(100, number) for number in range(8)]
    async with store.lease() as leased:
        asked.count.clear()
        await put_many(leased, sources)
        assert 8 == asked.count["put", "leased"]
        await store.collect(grace=AT_ONCE)
        assert 8 == len(await store.infos(map(digest_of, sources)))

    await store.leases.create("ended", expires=HOUR)
    under = store.with_lease("ended")
    await store.leases.delete("ended")
    with pytest.raises(LeaseEnded):
        await put_many(under, [data_of(100, "late")])
    assert not await store.exists(digest_of(data_of(100, "late")))


async def test_a_failed_look_is_an_error_of_each_blob(store: ObjectStore, asked: Asked) -> None:
    asked.refused.add("collecting/")

    results = await put_many(store, [NEW, OLD])

    errors = [each.error for each in results]
    assert all(isinstance(error, ServerRefused) for error in errors)
    assert 2 == len(set(map(id, errors)))
    with pytest.raises(ExceptionGroup) as caught:
        async with aclosing(store.put_many([data_of(100, "a"), data_of(100, "b")])) as raised:
            [result async for result in raised]
    assert [["put_many: source 0"], ["put_many: source 1"]] == [each.__notes__ for each in caught.value.exceptions]


def requests_to(port: int) -> Requests:
    """Return requests, without a second attempt, to a server on this machine."""
    url = f"http://127.0.0.1:{port}"
    options = {"bucket": "bucket", "endpoint": url, "allow_http": "true", "region": "us-east-1"}
    options |= {"access_key_id": "key", "secret_access_key": "secret"}
    return Requests(url, ObjectClient(options, retries=0, timeout=600), "")


@pytest.mark.usefixtures("keys")
async def test_a_native_batch_that_is_cancelled_ends() -> None:
    """The server takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        requests = requests_to(server.getsockname()[1])
        objects = [(f"{BLOBS}{number}", b"data") for number in range(300)]
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(requests.create_all, objects)
                connection, _ = await anyio.to_thread.run_sync(server.accept)
                connection.close()
                tasks.cancel_scope.cancel()
            await requests.aclose()


@pytest.mark.usefixtures("keys")
async def test_each_of_a_native_batch_fails_by_itself() -> None:
    """The server has ended."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    requests = requests_to(port)
    outcomes = await requests.create_all([("a", b"data"), ("b", b"data")])
    assert [Unreachable, Unreachable] == [type(outcome) for outcome in outcomes]
    assert all(isinstance(outcome, SteelyardError) for outcome in outcomes)
    await requests.aclose()


@pytest.mark.slow
async def test_on_a_server_the_blobs_that_are_not_compared_are_marked(address: str, tmp_path: Path) -> None:
    """A mark takes the server time."""
    small, large = data_of(MARKED, "small"), data_of(MARKED + 1, "large")
    async with ObjectStore(address, spool=tmp_path) as store:
        for news in (3, 0):  # the second of two equal blobs finds the first one
            results = await put_many(store, [small, large, NEW, small])
            assert news == sum(each.result.new for each in results)
        requests = store._require().requests
        marks = [(await requests.head(blob_key(digest_of(data)))).is_ours for data in (small, large)]
    assert [False, True] == marks
