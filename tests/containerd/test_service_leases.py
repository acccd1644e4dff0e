"""The leases of the service, spoken by a plain client and by containerd's own, and collections beside them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from foreign.programs import Ctr, root_only
from google.protobuf.empty_pb2 import Empty
from grpc import StatusCode

from steelyard import LocalStore, MemoryStore
from steelyard.containerd.remote import RemoteStore
from steelyard.containerd.service import Server
from steelyard.errors import CollectionRefused, FailedPrecondition, LeaseEnded, NotFound
from steelyard.images import import_images
from steelyard.leases import EXPIRES_LIMIT
from steelyard_bench._proto import content_pb2 as pb
from steelyard_bench._proto import leases_pb2

from .images import layer, make
from .serving import serving
from .wire import SECONDS, Wire, refused, sha256, wire

SERVICE = "containerd.services.leases.v1.Leases"
EXPIRE = "containerd.io/gc.expire"
ABSENT = sha256(b"absent")
NOW = timedelta(0)
ANSWERS: dict[str, Any] = {
    "Create": leases_pb2.CreateResponse,
    "List": leases_pb2.ListResponse,
    "ListResources": leases_pb2.ListResourcesResponse,
}


@pytest.fixture
def own_collector() -> bool:
    """Have the service offer leases."""
    return True


def ask(client: Wire, name: str, **fields: Any) -> Any:
    call: Callable[..., Any] = client.channel.unary_unary(
        f"/{SERVICE}/{name}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=ANSWERS.get(name, Empty).FromString,
    )
    return call(getattr(leases_pb2, f"{name}Request")(**fields), timeout=SECONDS)


def under(lease: str) -> tuple[tuple[str, str], ...]:
    return (("containerd-lease", lease),)


def resources(client: Wire, lease: str) -> set[tuple[str, str]]:
    return {(found.type, found.id) for found in ask(client, "ListResources", id=lease).resources}


def test_a_lease_is_made_listed_and_ended(content: Wire) -> None:
    end = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    labels = {"k": "v", EXPIRE: f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    made = ask(content, "Create", id="a", labels=labels).lease

    assert ("a", "v") == (made.id, made.labels["k"])
    assert abs(datetime.fromisoformat(made.labels[EXPIRE]) - end) < timedelta(seconds=SECONDS)
    assert ask(content, "Create", labels={"other": ""}).lease.id not in {"", "a"}
    assert [made] == list(ask(content, "List", filters=["id==a"]).leases)
    assert 2 == len(ask(content, "List").leases)
    ask(content, "Delete", id="a", sync=True)
    assert [] == list(ask(content, "List", filters=["labels.k"]).leases)


def test_a_lease_without_a_time_lasts_as_long_as_one_can(content: Wire) -> None:
    (end,) = ask(content, "Create", id="a").lease.labels.values()
    left = datetime.fromisoformat(end) - datetime.now(UTC)
    assert timedelta(days=1) > EXPIRES_LIMIT - left


def test_a_lease_whose_time_has_passed_has_ended(content: Wire) -> None:
    ask(content, "Create", id="a", labels={EXPIRE: "2020-01-31T12:00:00Z"})
    with refused(StatusCode.NOT_FOUND):
        ask(content, "ListResources", id="a")


def test_the_codes_of_errors_are_those_of_containerd(content: Wire) -> None:
    ask(content, "Create", id="a")
    blob, ref = {"id": ABSENT, "type": "content"}, {"id": "ref", "type": "ingests"}
    for code, name, fields in (
        (StatusCode.ALREADY_EXISTS, "Create", {"id": "a"}),
        (StatusCode.INVALID_ARGUMENT, "Create", {"id": "b\n"}),
        (StatusCode.INVALID_ARGUMENT, "Create", {"id": "b", "labels": {EXPIRE: "tomorrow"}}),
        (StatusCode.INVALID_ARGUMENT, "Create", {"id": "b", "labels": {EXPIRE: "9999-01-31T12:00:00Z"}}),
        (StatusCode.INVALID_ARGUMENT, "Create", {"id": "b", "labels": {"k": "v" * 5000}}),
        (StatusCode.INVALID_ARGUMENT, "List", {"filters": ["id="]}),
        (StatusCode.NOT_FOUND, "Delete", {"id": "b"}),
        (StatusCode.INVALID_ARGUMENT, "Delete", {"id": ""}),
        (StatusCode.NOT_FOUND, "ListResources", {"id": "b"}),
        (StatusCode.NOT_FOUND, "AddResource", {"id": "b", "resource": blob}),
        (StatusCode.NOT_FOUND, "DeleteResource", {"id": "b", "resource": ref}),
        (StatusCode.INVALID_ARGUMENT, "AddResource", {"id": "a", "resource": blob | {"id": "sha256:00"}}),
        (StatusCode.INVALID_ARGUMENT, "AddResource", {"id": "a", "resource": ref | {"id": ""}}),
        (StatusCode.INVALID_ARGUMENT, "AddResource", {"id": "a", "resource": {"id": "x"}}),
        (StatusCode.INVALID_ARGUMENT, "DeleteResource", {"id": "a", "resource": {"id": "x", "type": "contents"}}),
        (StatusCode.UNIMPLEMENTED, "AddResource", {"id": "a", "resource": {"id": "x", "type": "snapshots/overlayfs"}}),
        (StatusCode.UNIMPLEMENTED, "DeleteResource", {"id": "a", "resource": {"id": "x", "type": "images"}}),
    ):
        with refused(code):
            ask(content, name, **fields)
    assert ["a"] == [lease.id for lease in ask(content, "List").leases]
    assert set() == resources(content, "a")


def test_resources_are_added_and_removed(content: Wire) -> None:
    ask(content, "Create", id="a")
    for resource in ({"id": ABSENT, "type": "content"}, {"id": "ref", "type": "ingests"}):
        ask(content, "AddResource", id="a", resource=resource)
    assert {("content", ABSENT), ("ingests", "ref")} == resources(content, "a")
    ask(content, "DeleteResource", id="a", resource={"id": ABSENT, "type": "content"})
    assert {("ingests", "ref")} == resources(content, "a")


@pytest.mark.parametrize("when", ["first", "later", "commit"])
def test_what_a_write_under_a_lease_finds_is_entered(content: Wire, when: str) -> None:
    """However the client says what it expects: before, meanwhile, or never."""
    digest = content.store(b"data")
    ask(content, "Create", id="a")
    talk = content.talk(under("a"))
    with refused(StatusCode.ALREADY_EXISTS):
        if when == "first":
            talk.ask(ref="ref", expected=digest)
        else:
            talk.ask(ref="ref")
            assert {("ingests", "ref")} == resources(content, "a")
            if when == "later":
                talk.ask(pb.WRITE, data=b"da", expected=digest)
            talk.ask(pb.COMMIT, data=b"data")

    assert ("content", digest) in resources(content, "a")
    assert [] == list(content.content.ListStatuses(pb.ListStatusesRequest()).statuses)


def test_a_write_under_a_lease_enters_its_ingest_and_then_its_blob(content: Wire) -> None:
    ask(content, "Create", id="a")
    talk = content.talk(under("a"))
    talk.ask(pb.WRITE, ref="ref", data=b"data")
    assert {("ingests", "ref")} == resources(content, "a")
    digest = talk.ask(pb.COMMIT, offset=4).digest
    assert {("content", digest)} == resources(content, "a")


def test_a_write_under_a_lease_that_has_ended_stores_nothing(content: Wire) -> None:
    """As in containerd, NOT_FOUND; the ingest keeps its bytes."""
    with refused(StatusCode.NOT_FOUND, "lease none"):
        content.talk(under("none")).ask(ref="ref")
    with refused(StatusCode.INVALID_ARGUMENT):
        content.talk(under("")).ask(ref="ref")
    ask(content, "Create", id="a")
    talk = content.talk(under("a"))
    talk.ask(pb.WRITE, ref="ref", data=b"data")
    ask(content, "Delete", id="a")
    with refused(StatusCode.NOT_FOUND, "lease a"):
        talk.ask(pb.COMMIT, offset=4)
    with refused(StatusCode.NOT_FOUND):
        content.read(sha256(b"data"))
    assert 4 == content.content.Status(pb.StatusRequest(ref="ref")).status.offset


class TestWithoutLeases:
    """A service for a containerd, which has leases itself."""

    @pytest.fixture
    def own_collector(self) -> bool:
        return False

    def test_the_header_is_ignored_and_no_lease_is_offered(self, content: Wire) -> None:
        talk = content.talk(under("none"))
        assert sha256(b"data") == talk.ask(pb.COMMIT, ref="ref", data=b"data").digest
        with pytest.raises(grpc.RpcError) as caught:
            ask(content, "List")
        assert StatusCode.UNIMPLEMENTED is caught.value.code()


@pytest.fixture
async def collected(local_store: LocalStore, short_path: Path) -> AsyncIterator[RemoteStore]:
    """Give a client of a service, whose store is collected."""
    server = Server(local_store, short_path / "content.sock", own_collector=True, grace_seconds=5)
    async with server, RemoteStore(server.address, namespace=None) as client:
        yield client


@pytest.mark.anyio
async def test_a_blob_that_is_found_without_a_lease_is_no_garbage_for_the_grace_time(
    local_store: LocalStore, collected: RemoteStore
) -> None:
    digest = (await collected.put(b"data")).digest
    await local_store.collect(grace=timedelta(days=1))
    assert (await local_store.why(digest)).since is not None

    def find() -> None:
        with wire(collected.address) as client, refused(StatusCode.ALREADY_EXISTS):
            talk = client.talk()
            talk.ask(ref="ref")
            talk.ask(expected=str(digest))

    await anyio.to_thread.run_sync(find)
    assert (await local_store.why(digest)).since is None


@pytest.mark.slow
@pytest.mark.anyio
async def test_collections_without_a_grace_time_lose_nothing_of_clients_under_leases(
    local_store: LocalStore, collected: RemoteStore
) -> None:
    """Each client stores what all others store, too, and reads it back; what has no lease goes."""
    shared, ended = [b"shared %d" % number for number in range(8)], anyio.Event()
    removed = 0

    async def work(client: int) -> None:
        for turn in range(12):
            async with collected.lease() as leased:
                data = [b"own %d %d" % (client, turn), b"x" * 70_000 + b"%d %d" % (client, turn), *shared]
                digests = [(await leased.put(each)).digest for each in data]
                async with leased.writer(f"ref-{client}") as writer:
                    await writer.write(b"slow")
                    await writer.write(b"%d %d" % (client, turn))
                    digests.append((await writer.commit()).digest)
                for digest in digests:
                    assert await collected.get(digest)

    async def collect() -> None:
        nonlocal removed
        while not ended.is_set():
            removed += (await local_store.collect(grace=NOW)).blobs

    with anyio.fail_after(SECONDS * 4):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect)
            async with anyio.create_task_group() as clients:
                for client in range(3):
                    clients.start_soon(work, client)
            ended.set()

    await local_store.collect(grace=NOW)
    assert [] == [info async for info in local_store.walk()]
    assert removed > 0


@pytest.mark.anyio
@pytest.mark.parametrize("own", [LocalStore, MemoryStore])
async def test_a_server_leaves_its_store_to_one_collector(
    tmp_path: Path, short_path: Path, own: type[LocalStore | MemoryStore]
) -> None:
    """As the command does: by default to that of a containerd."""
    for own_collector in (True, False):
        path = tmp_path / str(own_collector)
        async with LocalStore(path, durability="process-crash") if own is LocalStore else MemoryStore() as store:
            await store.collect()
            for _ in range(2):
                async with Server(store, short_path / "content.sock", own_collector=own_collector):
                    if own_collector:
                        await store.collect()
                        continue
                    for flag in (False, True):
                        with pytest.raises(CollectionRefused):
                            await store.collect(accept_roots=flag, take_back=flag)
            with pytest.raises(FailedPrecondition):
                async with Server(store, short_path / "content.sock", own_collector=not own_collector):
                    pytest.fail("it is served")


@pytest.mark.anyio
async def test_a_client_whose_lease_is_deleted_is_told(local_store: LocalStore, collected: RemoteStore) -> None:
    async with collected.lease() as leased:
        digest = (await leased.put(b"data")).digest
        await local_store.leases.delete(leased.lease_id or "")
        for call in (leased.put, lambda data: leased.writer(data.decode())):
            with pytest.raises(LeaseEnded):
                await call(b"more")
        await local_store.collect(grace=NOW)
        with pytest.raises(NotFound):
            await leased.get(digest)


@pytest.mark.anyio
async def test_an_import_through_the_service_is_whole_beside_collections(
    local_store: LocalStore, collected: RemoteStore, tmp_path: Path
) -> None:
    image = make("example.com/image:1", layer(3000), layer(200_000))
    (tmp_path / "image.tar").write_bytes(image.archive)
    async with anyio.create_task_group() as tasks:

        async def collect() -> None:
            while True:
                await local_store.collect(grace=NOW)

        tasks.start_soon(collect)
        await import_images(collected, tmp_path / "image.tar")
        tasks.cancel_scope.cancel()
    await local_store.collect(grace=NOW)

    assert set(image.blobs) == {str(info.digest) async for info in local_store.walk()}


def test_containerds_own_client_has_its_leases_here(short_path: Path) -> None:
    """`ctr images import` takes a lease itself."""
    root_only("ctr")
    image = make("example.com/image:1", layer(3000), layer(200_000))
    (short_path / "image.tar").write_bytes(image.archive)
    with serving(short_path, "--own-collector", "--log-level", "debug") as running, wire(running.address) as client:
        ctr = Ctr(str(running.path), "default")
        ctr("leases", "create", "--id", "a", "--expires", "1h", "k=v")
        assert b"k=v" in ctr("leases", "ls")
        digest = "sha256:" + hashlib.sha256(b"data").hexdigest()
        (last,) = client.write(pb.WriteContentRequest(action=pb.COMMIT, ref="r", data=b"data"), metadata=under("a"))
        assert {("content", digest)} == {("content", last.digest)} == resources(client, "a")
        ctr("content", "ingest", "ingested", stdin=b"without a lease")
        ctr("images", "import", "--no-unpack", short_path / "image.tar")
        assert b"example.com/image:1" in ctr("images", "ls")
        assert "a" == ctr("leases", "ls", "-q").decode().strip()  # that of the import has ended
        kept = collect_beside(short_path / "store")
        assert {digest, *image.blobs} == kept
        ctr("leases", "delete", "a")
        assert set(image.blobs) == collect_beside(short_path / "store")
        code, said = running.end()

    assert 0 == code
    assert "Create a: OK" in said


def collect_beside(path: Path) -> set[str]:
    """Collect in a store of this process, and return the blobs that are left."""

    async def collect() -> set[str]:
        async with LocalStore(path, durability="process-crash") as store:
            await store.collect(grace=NOW)
            return {str(info.digest) async for info in store.walk()}

    return anyio.run(collect)
