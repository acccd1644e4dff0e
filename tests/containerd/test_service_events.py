"""The stream of events, spoken by a plain client and by containerd's own."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from steelyard import Descriptor, Digest, LocalStore, MemoryStore
from steelyard.containerd.service import Server
from steelyard_bench._proto import (
    changes_pb2,
    content_pb2,
    descriptor_pb2,
    events_pb2,
    images_pb2,
    name_changes_pb2,
)

from .serving import serving
from .wire import SECONDS, Wire, off_loop, refused, sha256, wire

METHOD = "/containerd.services.events.v1.Events/Subscribe"
TOPICS: dict[str, Any] = {
    "/content/create": changes_pb2.ContentCreate,
    "/content/delete": changes_pb2.ContentDelete,
    "/images/create": name_changes_pb2.ImageCreate,
    "/images/update": name_changes_pb2.ImageUpdate,
    "/images/delete": name_changes_pb2.ImageDelete,
}


def subscribe(client: Wire, *filters: str) -> Any:
    call = client.channel.unary_stream(
        METHOD,
        request_serializer=events_pb2.SubscribeRequest.SerializeToString,
        response_deserializer=events_pb2.Envelope.FromString,
    )
    return call(events_pb2.SubscribeRequest(filters=filters), timeout=SECONDS)


@contextmanager
def repeated(change: Callable[[int], object]) -> Iterator[None]:
    """Make changes until the block ends: a subscriber cannot know when its subscription has begun."""
    ended = False

    def change_often() -> None:
        for number in itertools.count():
            if ended:
                return
            change(number)
            time.sleep(0.01)

    thread = Thread(target=change_often)
    thread.start()
    try:
        yield
    finally:
        ended = True
        thread.join()


def unpacked(envelope: events_pb2.Envelope) -> tuple[str, Any]:
    kind = TOPICS[envelope.topic]
    assert kind.DESCRIPTOR.full_name == envelope.event.type_url
    return envelope.topic, kind.FromString(envelope.event.value)


def image(name: str, data: bytes, **labels: str) -> images_pb2.Image:
    target = descriptor_pb2.Descriptor(digest=sha256(data), size=1, media_type="text/plain")
    return images_pb2.Image(name=name, target=target, labels=labels)


def test_changes_are_sent_as_events_of_containerd(content: Wire) -> None:
    stream = subscribe(content, "topic~=^/images/", f"event.digest=={sha256(b'wanted')}")
    with repeated(lambda number: content.images.Create(images_pb2.CreateImageRequest(image=image(f"{number}", b"")))):
        next(stream)
    content.store(b"other", "other")
    content.store(b"wanted", "wanted")
    content.content.Delete(content_pb2.DeleteContentRequest(digest=sha256(b"wanted")))
    content.images.Create(images_pb2.CreateImageRequest(image=image("a", b"1", k="v")))
    mask = FieldMask(paths=["target"])
    content.images.Update(images_pb2.UpdateImageRequest(image=image("a", b"2"), update_mask=mask))
    content.images.Delete(images_pb2.DeleteImageRequest(name="a"))

    found = []
    for envelope in stream:
        assert ("default", True) == (envelope.namespace, envelope.timestamp.seconds > 0)
        topic, change = unpacked(envelope)
        if getattr(change, "name", "a") == "a":
            found.append((topic, change))
        if topic == "/images/delete":
            break
    stream.cancel()

    assert [
        ("/content/create", changes_pb2.ContentCreate(digest=sha256(b"wanted"), size=6)),
        ("/content/delete", changes_pb2.ContentDelete(digest=sha256(b"wanted"))),
        ("/images/create", name_changes_pb2.ImageCreate(name="a", labels={"k": "v"})),
        ("/images/update", name_changes_pb2.ImageUpdate(name="a", labels={"k": "v"})),
        ("/images/delete", name_changes_pb2.ImageDelete(name="a")),
    ] == found


def test_a_filter_that_does_not_parse_is_refused(content: Wire) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "topic=x"):
        next(subscribe(content, "topic=x"))


@pytest.mark.anyio
async def test_a_subscriber_ends_with_the_service_and_leaves_nothing(local_store: LocalStore, short_path: Path) -> None:
    native = local_store.direct().native
    async with Server(local_store, short_path / "content.sock") as server:
        with wire(server.address) as client:
            left = subscribe(client)
            while not native.subscribed:  # noqa: ASYNC110  # a thread of the service notifies no task
                await anyio.sleep(0.01)
            left.cancel()
            while native.subscribed:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            stream = subscribe(client)
            while not native.subscribed:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            await server.__aexit__(None, None, None)

            assert [] == await off_loop(lambda: list(stream))
            assert StatusCode.OK == stream.code()
    assert not native.subscribed


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["local", "memory"])
async def test_a_client_that_is_too_slow_gets_the_number_of_dropped_events(
    local_store: LocalStore, short_path: Path, kind: str
) -> None:
    """Events for which its connection has no room wait in the service, at most 4096 of them."""
    store = local_store if kind == "local" else MemoryStore()
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 65535),
    ]
    targets = {f"{number}": Descriptor(digest=Digest.parse(sha256(b"")), size=0) for number in range(4096 + 3000)}

    def drain(events: Any) -> None:
        with refused(StatusCode.RESOURCE_EXHAUSTED, "the client is too slow", "events were dropped"):
            for _ in events:
                pass

    async with Server(store, short_path / "content.sock") as server:
        with grpc.insecure_channel(server.address, options=options) as channel:
            events = subscribe(Wire(channel))
            await off_loop(events.initial_metadata)  # sent when the subscription has begun
            await store.images.assign(targets, labels={"long": "x" * 4000})
            await off_loop(lambda: drain(events))


@pytest.mark.skipif(shutil.which("ctr") is None, reason="containerd's client is not installed")
def test_containerds_client_prints_the_events(short_path: Path) -> None:
    with serving(short_path) as server, grpc.insecure_channel(server.address) as channel:
        client = Wire(channel)
        command = ["ctr", "--address", str(server.path), "--namespace", "test", "events", "topic~=/images/"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                with repeated(
                    lambda number: client.images.Create(images_pb2.CreateImageRequest(image=image(f"{number}", b"")))
                ):
                    process.stdout.readline()
                client.images.Delete(images_pb2.DeleteImageRequest(name="0"))
                for line in process.stdout:
                    if "/images/delete" in line:
                        break
            finally:
                process.kill()

    assert ' test /images/delete {"name":"0"}' in line
