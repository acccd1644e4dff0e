"""A containerd whose content store is ours, both as an operator starts them: our server as a process of its command."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from foreign.programs import COMMAND, Ctr, environment
from grpc import StatusCode

from steelyard.bench._peers._containerd import Daemon
from steelyard.containerd.proto import content_pb2 as pb

from .wire import SECONDS, wire

__all__ = ("Proxied", "Service", "eventually", "offset_of", "open_ingest", "proxied")


_SAID = {StatusCode.NOT_FOUND, StatusCode.UNAVAILABLE}


class Service:
    """Our server, on a store in a folder, which outlives it; it may be ended and started again on the same socket."""

    def __init__(self, place: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sy-"))
        self.store = place / "store"
        self.log = place / "steelyard.log"
        self.socket = self._folder / "content.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def block(self) -> str:
        """Return what the server prints to be put into containerd's configuration."""
        printed = subprocess.run(self._line("--print-config"), capture_output=True, check=True, env=environment())
        return printed.stdout.decode()

    def start(self) -> None:
        """Start it; on return its socket can be connected to."""
        with self.log.open("ab") as output:
            line = self._line("--grace", "1")
            self._process = subprocess.Popen(line, stdout=output, stderr=output, env=environment())
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=0.2)
            except grpc.FutureTimeoutError:
                return False
        return True

    def stop(self) -> int | None:
        """End it as an operator does, if it runs, and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        return process.wait(SECONDS)

    def kill(self) -> None:
        """End it as the kernel does, without a word."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(SECONDS)

    def close(self) -> None:
        """End it, whatever it takes, and remove its socket."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _line(self, *words: str) -> list[str]:
        return [*COMMAND, "serve", "containerd", "--store", str(self.store), "--address", str(self.socket), *words]


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
        return Ctr(self.daemon.address, namespace)

    def files(self) -> set[str]:
        """Return the digests that there are files for on our disk."""
        return {f"{path.parent.name}:{path.name}" for path in self.service.store.glob("blobs/*/*")}


@contextmanager
def proxied(place: Path) -> Iterator[Proxied]:
    """Run both, with the very block that our server prints in containerd's configuration."""
    service = Service(place)
    try:
        block = service.block()
        disabled = tomllib.loads(block).get("disabled_plugins", [])
        block = re.sub(r"^(version|disabled_plugins) *=.*$", "", block, flags=re.MULTILINE)
        service.start()
        daemon = Daemon(place, block, disabled=disabled)
        try:
            daemon.start()
            yield Proxied(service, daemon)
        finally:
            daemon.close()
    finally:
        service.close()


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


def eventually(claim: Callable[[], bool]) -> None:
    """Ask again until a claim about other processes is true."""
    end = time.monotonic() + SECONDS
    while not claim():
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.01)
