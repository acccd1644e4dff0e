"""Collections of a real containerd that find less in our store than it has told: they go on, because we answer OK."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from foreign.programs import Ctr
from grpc import StatusCode

from steelyard_bench._proto import content_pb2 as pb

from .images import layer, make
from .proxied import Proxied, offset_of, open_ingest
from .wire import SECONDS, wire

pytestmark = pytest.mark.slow

MIB = 1 << 20


def test_a_delete_that_finds_nothing_is_ok_and_the_collection_goes_on(system: Proxied, ctr: Ctr) -> None:
    made = make("docker.io/demo/gone:1", *[layer(10) for _ in range(6)])
    ctr("images", "import", "--no-unpack", "-", stdin=made.archive)
    with between(system) as deleted:
        ctr("images", "rm", "--sync", made.name)

    assert made.blobs.keys() <= set(deleted)
    assert {StatusCode.OK} == set(deleted.values())
    assert not made.blobs.keys() & system.files()


def test_a_delete_that_is_not_found_would_end_the_collection(system: Proxied, ctr: Ctr) -> None:
    """Why the answer is OK: with NOT_FOUND, which our own client asks for, containerd gives up at the first."""
    made = make("docker.io/demo/stuck:1", *[layer(10) for _ in range(6)])
    ctr("images", "import", "--no-unpack", "-", stdin=made.archive)
    with between(system, ("steelyard-exact", "yes")) as deleted:
        ctr("images", "rm", "--sync", made.name)

    # Each collection ends at its first; containerd may have begun another one by itself.
    assert {StatusCode.NOT_FOUND} == set(deleted.values())
    assert made.blobs.keys() & system.files()


def test_an_abort_that_finds_nothing_is_ok_and_the_record_goes(system: Proxied, ctr: Ctr) -> None:
    with open_ingest(ctr, "lost", bytes(MIB)):
        pass
    assert MIB == offset_of(ctr, "lost")
    with wire(f"unix:{system.service.address}") as ours:
        statuses = ours.content.ListStatuses(pb.ListStatusesRequest(), timeout=SECONDS).statuses
        [ref] = [status.ref for status in statuses if status.ref.endswith("lost")]
        ours.content.Abort(pb.AbortRequest(ref=ref), timeout=SECONDS)
    namespace = (("containerd-namespace", ctr.namespace),)
    with wire(f"unix:{ctr.address}") as theirs:
        theirs.content.Abort(pb.AbortRequest(ref="lost"), timeout=SECONDS, metadata=namespace)
        # Its record has gone, so that it no longer knows the ref.
        with pytest.raises(grpc.RpcError) as caught:
            theirs.content.Abort(pb.AbortRequest(ref="lost"), timeout=SECONDS, metadata=namespace)

    assert isinstance(caught.value, grpc.Call)
    assert StatusCode.NOT_FOUND is caught.value.code()
    ctr("content", "ingest", "lost", stdin=b"from the beginning")


@contextmanager
def between(system: Proxied, *headers: tuple[str, str]) -> Iterator[dict[str, StatusCode]]:
    """Have another program delete each blob just before containerd does, and record what containerd is answered.

    Every call goes through to our server as it is; `headers` are added to the Delete of containerd's.
    """
    deleted: dict[str, StatusCode] = {}
    ours = Path(system.service.address)
    moved = ours.with_name("moved.sock")

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            method: Any = channel.stream_stream(details.method)

            def forward(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
                metadata: tuple[tuple[str, str], ...] = ()
                subject = None
                if details.method == "/containerd.services.content.v1.Content/Delete":
                    [request] = requests
                    subject = pb.DeleteContentRequest.FromString(request).digest
                    list(method(iter([request]), timeout=SECONDS))
                    requests, metadata = iter([request]), headers
                call = method(requests, timeout=SECONDS, metadata=metadata)
                try:
                    yield from call
                except grpc.RpcError:
                    context.set_code(call.code())
                    context.set_details(call.details())
                if subject is not None:
                    deleted[subject] = call.code()

            return grpc.stream_stream_rpc_method_handler(forward)

    with grpc.insecure_channel(f"unix:{moved}") as channel, ThreadPoolExecutor(16) as threads:
        server = grpc.server(threads, handlers=[Handler()])
        system.daemon.stop()
        ours.rename(moved)
        server.add_insecure_port(f"unix:{ours}")
        server.start()
        try:
            system.daemon.start()
            yield deleted
        finally:
            system.daemon.stop()
            server.stop(None).wait()
            moved.rename(ours)
            system.daemon.start()
