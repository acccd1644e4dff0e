"""Health, reflection, metrics; image names; the table of errors."""

from __future__ import annotations

import logging
import re
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import grpc
import pytest
from anyio.from_thread import start_blocking_portal
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from steelyard import InvalidArgument, LocalStore, MemoryStore, StorageError, errors
from steelyard.containerd._code import Code
from steelyard.containerd.service import Server
from steelyard.containerd.service._codes import CLASSES, STATUS_TEXT_LIMIT, SUFFIXES, refusal
from steelyard_bench._proto import content_pb2 as pb
from steelyard_bench._proto import descriptor_pb2, images_pb2

from .wire import SECONDS, Wire, off_loop, refused, wire

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


def test_health_is_serving_for_each_service(content: Wire) -> None:
    health: Any = health_pb2_grpc.HealthStub(content.channel)
    services = (
        f"containerd.services.{name}" for name in ("content.v1.Content", "images.v1.Images", "events.v1.Events")
    )
    for service in ("", *services):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert health_pb2.HealthCheckResponse.SERVING == answer.status
    with refused(StatusCode.NOT_FOUND, "unheard"):
        health.Check(health_pb2.HealthCheckRequest(service="unheard"))


@pytest.mark.anyio
async def test_who_watches_the_health_hears_of_the_end(short_path: Path) -> None:
    server = Server(MemoryStore(), short_path / "content.sock")
    await server.__aenter__()
    with wire(server.address) as connected:
        health: Any = health_pb2_grpc.HealthStub(connected.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        first = await off_loop(lambda: next(watch))
        await server.__aexit__(None, None, None)
        rest = await off_loop(lambda: list(watch))

    assert (health_pb2.HealthCheckResponse.SERVING, [health_pb2.HealthCheckResponse.NOT_SERVING]) == (
        first.status,
        [answer.status for answer in rest],
    )


def test_watchers_of_the_health_have_a_limit_of_their_own(short_path: Path) -> None:
    """Without it they could use all calls, without a limit of time."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Server(MemoryStore(), short_path / "s", calls=8)) as server,
        wire(server.address) as connected,
    ):
        health: Any = health_pb2_grpc.HealthStub(connected.channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS) for _ in range(3)]
        answers = []
        for watch in watches:
            try:
                answers.append(next(watch).status)
            except grpc.RpcError:
                answers.append(watch.code())

        assert sorted(map(str, answers)) == ["1", "1", "StatusCode.UNAVAILABLE"]
        assert [] == list(connected.content.List(pb.ListContentRequest()))


def test_reflection_lists_the_services_and_their_messages(content: Wire) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(content.channel)
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="containerd.services.content.v1.Content"),
    ]
    services, files = stub.ServerReflectionInfo(iter(questions), timeout=SECONDS)

    names = {service.name for service in services.list_services_response.service}
    assert {
        "containerd.services.content.v1.Content",
        "containerd.services.events.v1.Events",
        "containerd.services.images.v1.Images",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    } == names
    found = [FileDescriptorProto.FromString(text) for text in files.file_descriptor_response.file_descriptor_proto]
    assert "Content" in {service.name for file in found for service in file.service}


def test_a_service_that_is_not_there_is_unimplemented(content: Wire) -> None:
    call: Any = content.channel.unary_unary("/containerd.services.leases.v1.Leases/List")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=SECONDS)

    assert isinstance(caught.value, grpc.Call)
    assert StatusCode.UNIMPLEMENTED is caught.value.code()


def metrics_of(server: Server) -> dict[str, float]:
    """Read the page of metrics, in a thread."""
    assert server.metrics_address is not None
    url = "http://{}:{}/metrics".format(*server.metrics_address)
    text = urllib.request.urlopen(url, timeout=SECONDS).read().decode()
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix("steelyard_containerd_"): float(value) for name, _, value in rows}


def settled(server: Server, *, writes: int = 0) -> dict[str, float]:
    """Return the metrics once no call is open but so many writes: a call counts a moment longer than its client waits."""
    end = time.monotonic() + SECONDS
    while True:
        counted = metrics_of(server)
        if writes == sum(value for name, value in counted.items() if name.startswith("open_calls{")):
            return counted
        assert time.monotonic() < end


@pytest.mark.anyio
async def test_metrics_name_the_limit_that_refused_a_call(local_store: LocalStore, short_path: Path) -> None:
    async with Server(local_store, short_path / "s", metrics_address="127.0.0.1:0", calls=1) as server:

        def client() -> None:
            with wire(server.address) as connected:
                connected.talk().ask(ref="open")
                with refused(StatusCode.UNAVAILABLE, "1 Write calls are open"):
                    connected.talk().ask(ref="one more")

        await off_loop(client)
        counted = await off_loop(lambda: settled(server))

    method = 'method="/containerd.services.content.v1.Content/Write"'
    assert 1 == counted[f'refused_calls_total{{limit="writes",{method}}}']
    assert 1 == counted[f'calls_total{{code="UNAVAILABLE",{method}}}']


@pytest.mark.anyio
async def test_metrics_count_calls_codes_bytes_and_open_ingests(local_store: LocalStore, short_path: Path) -> None:
    async with Server(local_store, short_path / "s", metrics_address="127.0.0.1:0") as server:

        def client() -> None:
            with wire(server.address) as connected:
                digest = connected.store(b"x" * 10_000)
                connected.read(digest)
                with refused(StatusCode.NOT_FOUND):
                    connected.read(DIGEST)
                connected.talk().ask(ref="open")
                read, write = ("/containerd.services.content.v1.Content/" + name for name in ("Read", "Write"))
                counted = settled(server, writes=1)
                assert 1 == counted[f'open_calls{{method="{write}"}}']
                assert 1 == counted["open_ingests"]
                assert 1 == counted[f'calls_total{{code="OK",method="{read}"}}']
                assert 1 == counted[f'calls_total{{code="NOT_FOUND",method="{read}"}}']
                assert 10_000 < counted[f'received_bytes_total{{method="{write}"}}'] < 10_200
                assert 10_000 < counted[f'sent_bytes_total{{method="{read}"}}'] < 10_200
                assert 2 == counted[f'call_seconds_count{{method="{read}"}}']

        await off_loop(client)

        def ended_well() -> float:
            """Return how many writes ended well, once all have ended."""
            write = "/containerd.services.content.v1.Content/Write"
            return settled(server)[f'calls_total{{code="OK",method="{write}"}}']

        def many_commits() -> None:
            """A client that has its answer leaves, as containerd does: the commit has gone well."""
            with wire(server.address) as connected:
                # How the call ends that the last client left open depends on what the server hears first.
                before = ended_well()
                for number in range(60):
                    talk = connected.talk()
                    talk.ask(pb.COMMIT, ref="quick", data=b"%d" % number)
                    talk.call.cancel()
                with refused(StatusCode.NOT_FOUND):
                    connected.read(DIGEST)
                assert before + 60 == ended_well()

        await off_loop(many_commits)
        assert server.metrics_address is not None
        taken = Server(local_store, short_path / "t", metrics_address=":".join(map(str, server.metrics_address)))
        with pytest.raises(StorageError):
            await taken.__aenter__()


LONG = pytest.param("host:" + "9" * 5000, id="long")


@pytest.mark.parametrize("address", ["", "9090", "host", "host:", "host:x", "host:65536", "host:-1", "host:٣", LONG])
def test_an_invalid_metrics_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgument, match="metrics address"):
        Server(MemoryStore(), "/tmp/s", metrics_address=address)


@pytest.mark.anyio
async def test_a_metrics_address_without_a_host_of_that_name_is_refused(short_path: Path) -> None:
    for host in "host.invalid", "[::1]":
        with pytest.raises(InvalidArgument, match=re.escape(f"metrics address {host}:0: ")):
            await Server(MemoryStore(), short_path / "s", metrics_address=f"{host}:0").__aenter__()


def test_image_names_are_made_changed_listed_and_removed(content: Wire) -> None:
    images = content.images
    target = descriptor_pb2.Descriptor(media_type="a/b", digest=DIGEST, size=5, annotations={"k": "v"})
    image = images_pb2.Image(name="docker.io/library/a:1", labels={"l": "1"}, target=target)
    made = images.Create(images_pb2.CreateImageRequest(image=image)).image

    assert (image.name, {"l": "1"}, target) == (made.name, dict(made.labels), made.target)
    assert made == images.Get(images_pb2.GetImageRequest(name=image.name)).image
    with refused(StatusCode.ALREADY_EXISTS, image.name):
        images.Create(images_pb2.CreateImageRequest(image=image))
    moved = images_pb2.Image(name=image.name, target=descriptor_pb2.Descriptor(digest=OTHER), labels={"l": "2"})
    update = images_pb2.UpdateImageRequest(image=moved, update_mask=FieldMask(paths=["target"]))
    with refused(StatusCode.FAILED_PRECONDITION, image.name, OTHER):
        images.Update(update, metadata=(("steelyard-expected", OTHER),))
    updated = images.Update(update).image
    assert (OTHER, {"l": "1"}) == (updated.target.digest, dict(updated.labels))
    assert {"l": "2"} == dict(images.Update(images_pb2.UpdateImageRequest(image=moved)).image.labels)
    assert [image.name] == [found.name for found in images.List(images_pb2.ListImagesRequest()).images]
    assert [] == list(images.List(images_pb2.ListImagesRequest(filters=["name==b"])).images)
    with refused(StatusCode.FAILED_PRECONDITION, image.name):
        images.Delete(images_pb2.DeleteImageRequest(name=image.name), metadata=(("steelyard-expected", DIGEST),))
    images.Delete(images_pb2.DeleteImageRequest(name=image.name, sync=True))
    with refused(StatusCode.NOT_FOUND, image.name):
        images.Get(images_pb2.GetImageRequest(name=image.name))
    with refused(StatusCode.NOT_FOUND, image.name):
        images.Delete(images_pb2.DeleteImageRequest(name=image.name))
    with refused(StatusCode.NOT_FOUND, image.name):
        images.Update(update)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (images_pb2.Image(target=descriptor_pb2.Descriptor(digest=DIGEST)), "name"),
        (images_pb2.Image(name="a\n", target=descriptor_pb2.Descriptor(digest=DIGEST)), "control"),
        (images_pb2.Image(name="a"), "digest"),
        (images_pb2.Image(name="a", target=descriptor_pb2.Descriptor(digest="sha256:x")), "sha256:x"),
        (images_pb2.Image(name="a", target=descriptor_pb2.Descriptor(digest=DIGEST, size=-1)), "size -1"),
        (images_pb2.Image(name="a", target=descriptor_pb2.Descriptor(digest=DIGEST), labels={"": "x"}), "label"),
    ],
)
def test_an_image_that_cannot_be_is_an_invalid_argument(content: Wire, image: images_pb2.Image, word: str) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, word):
        content.images.Create(images_pb2.CreateImageRequest(image=image))


def test_every_error_of_the_library_has_a_code_on_purpose() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if kind is not errors.SteelyardError:
            assert any(issubclass(kind, known) for known in CLASSES), name
    assert set(CLASSES.values()) <= set(SUFFIXES)
    assert set(SUFFIXES) == set(Code) - {Code.OK}
    assert {(code.name, code.value) for code in Code} == {(code.name, code.value[0]) for code in StatusCode}
    documented = (Path(__file__).parents[2] / "docs" / "containerd.md").read_text("utf-8")
    for kind, code in CLASSES.items():
        if kind is not TimeoutError:
            assert f"`{kind.__name__}`" in documented.partition(f"| {code.name} |")[2].splitlines()[0]


def test_errors_on_the_wire_say_what_happened_and_nothing_of_this_machine() -> None:
    storage = refusal(errors.StorageError(5, operation="fdatasync", path="/secret/path"))
    control = refusal(errors.DataCorrupt("/secret/path/state", expected="a", actual="b"))
    unknown = refusal(RuntimeError("/secret/path"))

    assert (Code.INTERNAL, "fdatasync: Input/output error: internal") == (storage.code, storage.message)
    assert Code.PERMISSION_DENIED is refusal(errors.StorageError(30, operation="open", path="/secret")).code
    assert Code.RESOURCE_EXHAUSTED is refusal(errors.StorageFull(28, operation="write", path="/secret")).code
    assert (Code.DATA_LOSS, "state: corrupt: expected a, found b: data loss") == (control.code, control.message)
    assert Code.INTERNAL is unknown.code
    for one in (storage, control, unknown):
        assert "secret" not in one.message + one.details.decode()


def test_a_message_is_cut_to_what_a_header_may_have_and_keeps_its_end() -> None:
    for letter in ("x", "ö", "\0"):
        found = refusal(errors.NotFound(letter * 2_000_000, kind="ingest"))

        assert found.message.startswith("ingest " + letter)
        assert found.message.endswith(": not found")
        assert len(found.message) <= STATUS_TEXT_LIMIT
        assert b"" == found.details


@pytest.mark.anyio
async def test_an_unforeseen_error_is_internal_for_the_client_and_complete_in_the_log(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryStore):
        async def delete(self, digest: object) -> None:
            raise RuntimeError(f"a secret of this machine: {digest}")

    async with Server(Broken(), short_path / "s") as server:

        def client() -> None:
            with wire(server.address) as connected, pytest.raises(grpc.RpcError) as caught:
                connected.content.Delete(pb.DeleteContentRequest(digest=DIGEST))
            assert isinstance(caught.value, grpc.Call)
            assert StatusCode.INTERNAL is caught.value.code()
            assert "secret" not in str(caught.value)

        with caplog.at_level(logging.DEBUG, logger="steelyard.containerd"):
            await off_loop(client)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "a secret of this machine" in caplog.text
    assert "Traceback (most recent call last)" in record.getMessage()


@pytest.mark.anyio
async def test_a_store_that_takes_too_long_is_a_deadline_exceeded(short_path: Path) -> None:
    class Slow(MemoryStore):
        async def delete(self, digest: object) -> None:
            del digest
            await anyio.sleep_forever()

    async with Server(Slow(), short_path / "s", wait_seconds=0.05) as server:

        def client() -> None:
            with wire(server.address) as connected, refused(StatusCode.DEADLINE_EXCEEDED, "0.05 s"):
                connected.content.Delete(pb.DeleteContentRequest(digest=DIGEST), timeout=SECONDS)

        await off_loop(client)


@pytest.mark.anyio
async def test_a_call_that_the_event_loop_cancels_ends_with_an_error(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scope = anyio.CancelScope()

    class Cancelling(MemoryStore):
        async def delete(self, digest: object) -> None:
            del digest
            scope.cancel()
            await anyio.sleep_forever()

    def client(address: str) -> None:
        with wire(address) as connected, refused(StatusCode.INTERNAL, ""):
            connected.content.Delete(pb.DeleteContentRequest(digest=DIGEST), timeout=SECONDS)

    async with anyio.create_task_group() as tasks:
        with scope:
            async with Server(Cancelling(), short_path / "s") as server:
                tasks.start_soon(off_loop, partial(client, server.address))
                await anyio.sleep_forever()

    assert "CancelledError" in caplog.text
