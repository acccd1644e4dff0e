"""Writers beside collections, in every order of their requests: what a writer was told stays, under its lease and within the grace time."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import anyio
import msgspec
import pytest

from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, CollectionBusy, NotFound
from steelyard.model import Descriptor, Labels
from steelyard.objects import ObjectStore
from steelyard.testing._collecting import AT_ONCE, REFERENCE, ROOT, document
from steelyard.testing._leasing import HOUR
from steelyard.testing._values import data_of, digest_of

from .bucket import Bucket, BucketRequests

pytestmark = pytest.mark.anyio

SEEDS = int(os.environ.get("STEELYARD_OBJECT_SEEDS", "4"))
"""Random runs."""

STRIDE = int(os.environ.get("STEELYARD_OBJECT_STRIDE", "6"))
"""Of so many requests one is tried; 1 tries all of them."""

ADDRESS = "s3://bucket/prefix"
BLOB = data_of(100, "blob")
OTHER = data_of(100, "other")
LARGE = data_of(3000, "large")
DOCUMENT = document(layers=[digest_of(BLOB)])
LARGE_DOCUMENT = document(layers=[digest_of(BLOB)], filler="x" * 3000)


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on one event loop: the order of the requests is the test's own."""
    return str(request.param)


class Dead(BaseException):
    """Ends a client as a kill does: at a request, and without another one."""


Write = Callable[[ObjectStore], Awaitable[set[Digest]]]


async def put_blob(leased: ObjectStore) -> set[Digest]:
    return {(await leased.put(BLOB)).digest}


async def put_batch(leased: ObjectStore) -> set[Digest]:
    """Two are garbage, and one is new."""
    sources = [BLOB, data_of(100, "new"), OTHER]
    return {result.result.digest async for result in leased.put_many(sources)}


async def put_expected(leased: ObjectStore) -> set[Digest]:
    return {(await leased.put(BLOB, expected=digest_of(BLOB))).digest}


async def put_labelled(leased: ObjectStore) -> set[Digest]:
    result = await leased.put(OTHER, labels={"a": "b"})
    if result.new:
        assert {"a": "b"} == (await leased.info(result.digest)).labels
    return {result.digest}


async def put_large(leased: ObjectStore) -> set[Digest]:
    return {(await leased.put(LARGE)).digest}


async def write_expected(leased: ObjectStore) -> set[Digest]:
    with suppress(AlreadyExists):
        async with leased.writer("ref", expected=digest_of(LARGE)) as writer:
            await writer.write(LARGE[writer.offset :])
            await writer.commit()
    return {digest_of(LARGE)}


async def put_document(leased: ObjectStore) -> set[Digest]:
    """Without the blob that it names, which is there afterwards, or was not when the document was put."""
    manifest = (await leased.put(DOCUMENT)).digest
    return {manifest, *await leased.infos([digest_of(BLOB)])}


async def put_large_document(leased: ObjectStore) -> set[Digest]:
    manifest = (await leased.put(LARGE_DOCUMENT)).digest
    return {manifest, *await leased.infos([digest_of(BLOB)])}


async def import_image(leased: ObjectStore) -> set[Digest]:
    blob, manifest = (await leased.put(BLOB)).digest, (await leased.put(DOCUMENT)).digest
    await leased.images.assign({"image": Descriptor(digest=manifest)}, overwrite=True)
    return {blob, manifest}


async def of_document(leased: ObjectStore) -> set[Digest]:
    """Return the document and what is there of what it names: nothing, if it was gone before it was protected."""
    found = set(await leased.infos([digest_of(DOCUMENT), digest_of(BLOB)]))
    return found if digest_of(DOCUMENT) in found else set()


async def set_name(leased: ObjectStore) -> set[Digest]:
    await leased.images.assign({"name": Descriptor(digest=digest_of(DOCUMENT))}, overwrite=True)
    return await of_document(leased)


async def set_root(leased: ObjectStore) -> set[Digest]:
    with suppress(NotFound):
        info = await leased.info(digest_of(OTHER))
        labels = Labels({ROOT: "1", REFERENCE: str(digest_of(BLOB))})
        await leased.update(msgspec.structs.replace(info, labels=labels))
        return {digest_of(OTHER), *await leased.infos([digest_of(BLOB)])}
    return set()


async def add_to_lease(leased: ObjectStore) -> set[Digest]:
    assert leased.lease_id is not None
    await leased.leases.add(leased.lease_id, digests=[digest_of(DOCUMENT), digest_of(LARGE)])
    return await of_document(leased) | set(await leased.infos([digest_of(LARGE)]))


WITHOUT_LEASE: list[Write] = [put_blob, put_batch, put_expected, put_labelled, put_large, write_expected, put_document]
WRITES = [*WITHOUT_LEASE, put_large_document, import_image, set_name, set_root, add_to_lease]


@pytest.fixture(autouse=True)
def small_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let larger blobs take the way of an upload in parts."""
    for module in ("_components", "_store", "_uploads"):
        monkeypatch.setattr(f"steelyard.objects.{module}.ONE_REQUEST_BYTES", 2000)
    monkeypatch.setattr("steelyard.objects._uploads._LEAST_PART", 1000)


class Scene:
    """A bucket with garbage, and clients of it."""

    def __init__(self, bucket: Bucket, path: Path, stack: AsyncExitStack) -> None:
        self.bucket, self._path, self._stack = bucket, path, stack
        self._number = 0
        self._first: ObjectStore | None = None

    async def client(self) -> ObjectStore:
        """Open a store as a program of its own does."""
        self._number += 1
        return await self._stack.enter_async_context(ObjectStore(ADDRESS, spool=self._path / f"{self._number}"))

    async def clear(self) -> None:
        """Empty the bucket, and store garbage, of which a collection knows."""
        for key in list(self.bucket.objects):
            if key != "steelyard.json" and not key.startswith("collecting/"):
                del self.bucket.objects[key]
        if self._first is None:
            self._first = await self.client()
        store = self._first
        for data in (BLOB, OTHER, LARGE, DOCUMENT, LARGE_DOCUMENT):
            await store.put(data)
        await store.collect(grace=HOUR)


@pytest.fixture
async def scene(bucket: Bucket, tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        yield Scene(bucket, tmp_path, stack)


def requests_of(store: ObjectStore) -> BucketRequests:
    opened = store._require()
    assert isinstance(opened.requests, BucketRequests)
    return opened.requests


def act_before(bucket: Bucket, store: ObjectStore, number: int, act: Callable[[], Awaitable[object]]) -> list[int]:
    """Call `act` before that request of a store; return a list that has the number of its requests so far."""
    seen, requests, is_acting = [0], requests_of(store), False

    async def before(client: BucketRequests, name: str, key: str) -> None:
        nonlocal is_acting
        del name, key
        if client is requests and not is_acting:
            seen[0] += 1
            if seen[0] == number:
                is_acting = True
                await act()
                is_acting = False

    bucket.before = before
    return seen


def numbers(write: Write) -> Iterator[int]:
    """Return the numbers of requests to try. The batch of the blob that a document names has one request that counts."""
    return itertools.count(1) if write is put_document else itertools.count(1 + len(write.__name__) % STRIDE, STRIDE)


async def check(store: ObjectStore, digests: set[Digest], at: object) -> None:
    assert digests == (await store.infos(digests)).keys(), at
    for digest in digests:
        assert digest_of(await store.get(digest)) == digest, at


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
async def test_a_collection_before_each_request_of_a_writer(scene: Scene, write: Write) -> None:
    writer, collector = await scene.client(), await scene.client()
    for number in numbers(write):
        await scene.clear()
        async with writer.lease() as leased:
            seen = act_before(scene.bucket, writer, number, lambda: collector.collect(grace=AT_ONCE))
            told = await write(leased)
            scene.bucket.before = None
            await check(collector, told, number)
            await collector.collect(grace=AT_ONCE)
            await check(collector, told, number)
        if seen[0] < number:
            break


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
async def test_a_writer_before_each_request_of_a_collection(scene: Scene, write: Write) -> None:
    """The collection waits meanwhile, and the writer until no removal of it is accepted any more."""
    writer, collector = await scene.client(), await scene.client()
    for number in numbers(write):
        await scene.clear()
        async with writer.lease() as leased:
            told: set[Digest] = set()

            async def act(leased: ObjectStore = leased, told: set[Digest] = told) -> None:
                told |= await write(leased)

            seen = act_before(scene.bucket, collector, number, act)
            await collector.collect(grace=AT_ONCE)
            scene.bucket.before = None
            await check(writer, told, number)
            await collector.collect(grace=AT_ONCE)
            await check(writer, told, number)
        if seen[0] < number:
            break


@pytest.mark.slow
@pytest.mark.parametrize("write", WITHOUT_LEASE, ids=lambda write: write.__name__)
async def test_what_is_found_has_its_grace_time_at_each_request(scene: Scene, write: Write) -> None:
    """Without a lease, with old notes: the writer before each request of a collection, and the other way round."""
    ended = [False, False]
    writer, collector = await scene.client(), await scene.client()
    for number, is_writer in ((number, is_writer) for number in numbers(write) for is_writer in (False, True)):
        await scene.clear()
        scene.bucket.passed += 7200
        told: set[Digest] = set()

        async def act(writer: ObjectStore = writer, told: set[Digest] = told) -> None:
            told |= await write(writer)

        if is_writer:
            seen = act_before(scene.bucket, writer, number, lambda: collector.collect(grace=HOUR))
            await act()
        else:
            seen = act_before(scene.bucket, collector, number, act)
            await collector.collect(grace=HOUR)
        scene.bucket.before = None
        await check(collector, told, (number, is_writer))
        await collector.collect(grace=HOUR)
        await check(collector, told, (number, is_writer))
        ended[is_writer] = seen[0] < number
        if all(ended):
            break


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_writers_and_collectors_at_random(scene: Scene, seed: int) -> None:
    """Eight writers and two collectors; requests overtake each other, and clients are killed."""
    chance = random.Random(seed)  # reproducible
    await scene.clear()
    alive: dict[BucketRequests, int] = {}

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del name, key
        if client in alive:
            alive[client] -= 1
            if alive[client] <= 0:
                raise Dead
        for _ in range(chance.randrange(4)):
            await anyio.lowlevel.checkpoint()

    async def written() -> None:
        for _ in range(6):
            store = await scene.client()
            if chance.random() < 0.3:
                alive[requests_of(store)] = chance.randrange(1, 60)
            with suppress(Dead):
                lease = (await store.leases.create(expires=HOUR)).id
                told = await chance.choice(WRITES)(store.with_lease(lease))
                await check(store, told, seed)
                promised.append(told)

    async def collecting() -> None:
        for _ in range(8):
            store = await scene.client()
            if chance.random() < 0.4:
                alive[requests_of(store)] = chance.randrange(1, 60)
            with suppress(Dead, CollectionBusy):
                await store.collect(grace=AT_ONCE)
            scene.bucket.passed += chance.choice((0, 0, 20, 130))

    promised: list[set[Digest]] = []
    scene.bucket.before = before
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(written)
        for _ in range(2):
            tasks.start_soon(collecting)
    scene.bucket.before = None
    scene.bucket.passed += 130
    store = await scene.client()
    for _ in range(2):
        for told in promised:
            await check(store, told, seed)
        await store.collect(grace=AT_ONCE)


async def test_what_is_not_found_again_goes_after_its_grace_time(scene: Scene) -> None:
    await scene.clear()
    scene.bucket.passed += 7200
    store = await scene.client()
    assert (await store.collect(grace=HOUR)).blobs == 5


async def test_a_lease_that_ends_gives_its_garbage_back(scene: Scene) -> None:
    await scene.clear()
    writer, collector = await scene.client(), await scene.client()
    async with writer.lease() as leased:
        for write in WRITES:
            await write(leased)
    for image in await writer.images.list():
        await writer.images.delete(image.name)
    info = await writer.info(digest_of(OTHER))
    await writer.update(msgspec.structs.replace(info, labels=Labels()))
    await collector.collect(grace=AT_ONCE)

    kept = ("steelyard.json", "images/", "labels/", "collecting/")
    assert [] == [key for key in scene.bucket.objects if not key.startswith(kept)]


async def test_an_entry_of_a_writer_that_was_too_late_for_its_lease_goes_after_a_day(scene: Scene) -> None:
    await scene.clear()
    store = await scene.client()
    await store.leases.create("lasting", expires=timedelta(days=9))
    await store.leases.add("lasting", digests=[digest_of(BLOB)])
    lasting = {key for key in scene.bucket.objects if key.startswith("leased/")}
    assert 1 == len(lasting)
    (key,) = lasting
    late = f"leased/{uuid4().hex}/{key.split('/', 2)[2]}"
    scene.bucket.write(late, b"")

    for days, left in ((0.9, lasting | {late}), (0.2, lasting)):
        scene.bucket.passed += days * 86_400
        await store.collect(grace=HOUR)
        assert left == {key for key in scene.bucket.objects if key.startswith("leased/")}


async def test_a_lease_that_is_created_after_its_context_was_cancelled_does_not_last(scene: Scene) -> None:
    """A server may carry out a request long after the client has given it up."""
    store = await scene.client()
    late: list[str] = []

    async def before(client: BucketRequests, name: str, key: str) -> None:
        del client
        if name == "put" and key.startswith("leases/") and not late:
            late.append(key)
            scope.cancel()
            await anyio.sleep_forever()

    scene.bucket.before = before
    with anyio.CancelScope() as scope:
        async with store.lease():
            raise AssertionError
    (key,) = late

    assert key in scene.bucket.objects  # so the server refuses the late request
    assert [] == await store.leases.list()
    scene.bucket.passed += 2 * 86_400
    await store.collect()
    assert [] == [key for key in scene.bucket.objects if key.startswith("leases/")]
