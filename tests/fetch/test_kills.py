"""`steelyard fetch`, killed again and again while the file changes: the blob is always one version."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.fork_server import ForkServer
from cli.runner import Shell, sha256

from .server import Handler, Reply, Request, Server, content, dropped, ranged

pytestmark = pytest.mark.slow

_ROUNDS = 12


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Give a shell with no store yet."""
    fork_server = ForkServer()
    yield Shell(tmp_path, fork_server)
    fork_server.close()


@pytest.mark.parametrize("size", [24 << 20, 72 << 20], ids=["one request", "in parts"])
def test_no_kill_mixes_two_versions(server: Server, shell: Shell, size: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    choose = random.Random(seed)
    versions = [content(size, number) for number in range(2)]
    handlers: list[Handler] = [
        ranged(data, f'"{number}"', Accept_Ranges="bytes") for number, data in enumerate(versions)
    ]
    current = handlers[0]

    def any_version(request: Request) -> Reply:
        """Give parts of one version for a while, and anything in answer to the first request of a fetch."""
        nonlocal current
        if request.end is None or choose.random() < 0.02:
            current = choose.choice(handlers)
        if choose.random() < (0.5 if request.end is None else 0.05):
            return dropped(current, choose.randrange(size))(request)
        return current(request)

    url = server.plan("/file", any_version)
    resumed = 0
    for _ in range(_ROUNDS):
        before = len(server.requests)
        process = shell.start("fetch", url)
        server.wait_for_requests(before + 1)
        time.sleep(choose.random() * 0.3)  # any moment will do
        process.send_signal(signal.SIGKILL)
        process.communicate()
        resumed += server.requests[before].offset > 0
    found = shell.run("fetch", url, "-q").lines

    assert {sha256(data) for data in versions} >= set(found)
    assert 1 == len(found)
    assert (size > 64 << 20) == any(request.end is not None for request in server.requests)
    shell.run("verify", "--all")
    stored = {record["digest"] for record in shell.run("ls", "--format", "json").document["blobs"]}
    assert stored <= {sha256(data) for data in versions}
    print("resumed", resumed, "of", _ROUNDS)
