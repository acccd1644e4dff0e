"""A containerd whose content store is ours, both as an operator starts them: our server as a process of its command."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from foreign.programs import Ctr, environment, root_only
from grpc import StatusCode

from steelyard_bench._peers._containerd import Daemon
from steelyard_bench._proto import content_pb2 as pb
from steelyard_bench._service import Service

from .wire import SECONDS, wire

__all__ = (
    "NO_SERVICE",
    "VERSIONS",
    "Proxied",
    "block_of",
    "eventually",
    "offset_of",
    "open_ingest",
    "programs_of",
    "proxied",
    "reads",
)


VERSIONS = ("installed", "2")
"""The containerds that are tried: the one on the path, and one of the series 2."""

_CONTAINERD2 = os.environ.get("STEELYARD_CONTAINERD2")
"""A folder with the programs of containerd 2, which `.ci/run` builds where there is Go."""

NO_SERVICE = re.compile(rb"unavailable|connection error: desc")
"""Messages of the `ctr` of containerd 1 and of 2 when their containerd does not reach our server."""

_SAID = {StatusCode.NOT_FOUND, StatusCode.UNAVAILABLE}


class Proxied:
    """The two together.

    Attributes:
        service: our server.
        daemon: a containerd without a content store of its own.
    """

    def __init__(self, service: Service, daemon: Daemon) -> None:
        self.service = service
        self.daemon = daemon

    def ctr(self, namespace: str) -> Ctr:
        """Return the client, in a namespace."""
        return Ctr(self.daemon.address, namespace, self.daemon.program("ctr"))

    def files(self) -> set[str]:
        """Return the digests that there are files for on our disk."""
        return {f"{path.parent.name}:{path.name}" for path in self.service.store.glob("blobs/*/*")}


def block_of(service: Service) -> str:
    """Return what a server prints to be put into containerd's configuration."""
    printed = subprocess.run(service.line("--print-config"), capture_output=True, check=True, env=environment())
    return printed.stdout.decode()


@contextmanager
def proxied(place: Path, programs: Path | None = None, *options: str) -> Iterator[Proxied]:
    """Run both, with the very block that our server prints in containerd's configuration.

    `programs` is the folder of another containerd than the installed one, `options` are more words for our command.
    """
    service = Service(place, "--grace", "1", *options)
    try:
        block, disabled = service.plugin()
        service.start()
        daemon = Daemon(place, block, disabled=disabled, programs=programs)
        try:
            daemon.start()
            yield Proxied(service, daemon)
        finally:
            daemon.close()
    finally:
        service.close()


def programs_of(version: str) -> Path | None:
    """Return the folder of one of `VERSIONS`, None for the path; skip the test where it cannot run."""
    root_only("containerd")
    root_only("ctr")
    if version == "installed":
        return None
    if _CONTAINERD2 is None:
        pytest.skip("STEELYARD_CONTAINERD2 is not set: the folder with containerd 2 and its ctr")
    return Path(_CONTAINERD2)


@contextmanager
def open_ingest(ctr: Ctr, ref: str, data: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Have `ctr` ingest data whose end does not come; on entry all of it has arrived, which is whole MiB.

    On leaving, its input ends, and it has ended.
    """
    with subprocess.Popen(
        ctr.line("content", "ingest", ref), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(data)
            process.stdin.flush()
            eventually(lambda: offset_of(ctr, ref) == len(data))
            yield process
        finally:
            process.kill()


def offset_of(ctr: Ctr, ref: str) -> int | None:
    """Return the offset that containerd knows an ingest to have, or None if it knows none.

    When our server was away it takes containerd up to 3 s to try again whether it has come back.
    """
    found: list[int | None] = []

    def known() -> bool:
        request, namespace = pb.StatusRequest(ref=ref), (("containerd-namespace", ctr.namespace),)
        with wire(f"unix:{ctr.address}") as client:
            try:
                answer = client.content.Status(request, timeout=SECONDS, metadata=namespace)
            except grpc.RpcError as error:
                if not isinstance(error, grpc.Call) or error.code() not in _SAID:
                    raise
                if error.code() is StatusCode.NOT_FOUND:
                    found.append(None)
            else:
                found.append(answer.status.offset)
        return bool(found)

    eventually(known)
    return found[0]


def reads(ctr: Ctr, digest: str) -> bool:
    """Return whether containerd can read a blob now. `ctr` would be a process for each time that this is asked."""
    request, namespace = pb.ReadContentRequest(digest=digest), (("containerd-namespace", ctr.namespace),)
    with wire(f"unix:{ctr.address}") as client:
        try:
            return sum(len(each.data) for each in client.content.Read(request, timeout=SECONDS, metadata=namespace)) > 0
        except grpc.RpcError:
            return False


def eventually(claim: Callable[[], bool]) -> None:
    """Ask again until a claim about other processes is true."""
    end = time.monotonic() + SECONDS
    while not claim():
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.01)
