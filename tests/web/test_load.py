"""Each server under load by wrk, while other clients compare each byte: the short form of `python -m steelyard_bench.serving`."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from support.asgi_servers import SERVERS, AsgiServer, serving

from steelyard import LocalStore
from steelyard_bench.serving import main

from .programs import program

pytestmark = pytest.mark.slow

MIB = 1 << 20
SMALL, LARGE = random.Random(6).randbytes(MIB), random.Random(7).randbytes(24 * MIB)
ALLOWED_MIB = 48
"""Memory may grow by so much during the load: buffers of the connections, of which each server has its own number."""


class Checker(threading.Thread):
    """A client that asks for the blobs and for ranges of them, and compares each byte, until it is told to end."""

    def __init__(self, server: AsgiServer, blobs: dict[str, bytes], seed: int) -> None:
        super().__init__()
        self._server, self._blobs = server, blobs
        self._choose = random.Random(seed)
        self.ending = threading.Event()
        self.answers = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        connection = self._server.http()
        try:
            while not self.ending.is_set():
                path, data = self._choose.choice([*self._blobs.items()])
                start, stop = sorted(self._choose.randrange(len(data) + 1) for _ in range(2))
                headers = {"Range": f"bytes={start}-{stop - 1}"} if start < stop and self._choose.random() < 0.7 else {}
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                wanted = (206, data[start:stop]) if headers else (200, data)
                if (answer.status, answer.read()) != wanted:
                    self.wrong.append(f"{path} {headers}: {answer.status}")
                self.answers += 1
        finally:
            connection.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load")


@pytest.fixture(scope="module")
def digests(root: Path) -> list[str]:
    async def put() -> list[str]:
        async with LocalStore(root / "store") as store:
            return [str((await store.put(data)).digest) for data in (SMALL, LARGE)]

    return anyio.run(put)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, root: Path) -> Iterator[AsgiServer]:
    environment = {"STEELYARD_TEST_STORE": str(root / "store")}
    with serving(request.param, "web.served:app", root, environment=environment) as running:
        yield running


def state(server: AsgiServer) -> tuple[int, int]:
    """Return the memory in MiB and the descriptors of the process that runs the application."""
    place = Path("/proc") / str(server.worker())
    pages = int((place / "statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20, len(list((place / "fd").iterdir()))


def test_no_byte_is_wrong_and_nothing_grows(server: AsgiServer, digests: list[str]) -> None:
    wrk = program("wrk", "wrk")
    blobs = {
        f"/{way}/{digest}": data
        for way in ("verified", "unverified")
        for digest, data in zip(digests, (SMALL, LARGE), strict=True)
    }

    def load(path: str, seconds: int) -> str:
        command = [wrk, "-t1", "-c16", f"-d{seconds}s", "--timeout", "30s", server.url + path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    for path in blobs:  # threads and buffers that stay
        load(path, 1)
    settled(server, None)
    memory, descriptors = state(server)
    checkers = [Checker(server, blobs, random.randrange(1 << 32)) for _ in range(2)]
    for checker in checkers:
        checker.start()
    try:
        found = [load(path, 1) for path in blobs]
    finally:
        for checker in checkers:
            checker.ending.set()
            checker.join()

    assert [] == [wrong for checker in checkers for wrong in checker.wrong]
    assert all(checker.answers for checker in checkers)
    for out in found:
        assert "Non-2xx" not in out
        assert "Socket errors" not in out, out
    settled(server, descriptors)
    print(server.name, "MiB:", memory, "then", state(server)[0], "descriptors:", descriptors, "then", state(server)[1])
    assert state(server)[0] <= memory + ALLOWED_MIB


def settled(server: AsgiServer, most: int | None) -> None:
    """Wait until no client's connection is open any more, and no more than so many descriptors."""
    end = time.monotonic() + 30
    while sockets(server) > 4 or (most is not None and state(server)[1] > most + 2):
        assert time.monotonic() < end, f"{state(server)[1]} descriptors are open"
        time.sleep(0.05)
    time.sleep(0.2)


def sockets(server: AsgiServer) -> int:
    """Return how many sockets to clients the server has."""
    inodes = set()
    for entry in Path(f"/proc/{server.worker()}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(entry.readlink()))
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    port = f":{server.port:04X}"
    return sum(line.split()[1].endswith(port) and f"socket:[{line.split()[9]}]" in inodes for line in lines)


def test_the_benchmark_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program("wrk", "wrk")
    program("nginx", "nginx-light")

    words = ["--seconds", "1", "--rounds", "1", "--sizes", str(MIB), str(8 * MIB), "--servers", "granian"]
    assert 0 == main([*words, "--directory", str(tmp_path)])

    out = capfd.readouterr().out
    for row in ("nginx", "granian, memory", "granian, verified", "granian, pathsend"):
        assert f"| 1-MiB | {row} | " in out
        assert f"| 8-MiB | {row} | " in out
    assert "| granian, pathsend, nginx | 8-MiB | " in out
    assert [] == list(tmp_path.iterdir())
