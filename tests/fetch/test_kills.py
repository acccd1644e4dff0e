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
_LARGE = 24 << 20


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Give a shell with no store yet."""
    fork_server = ForkServer()
    yield Shell(tmp_path, fork_server)
    fork_server.close()


def test_no_kill_mixes_two_versions(server: Server, shell: Shell) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    choose = random.Random(seed)
    versions = [content(_LARGE, number) for number in range(2)]
    handlers: list[Handler] = [ranged(data, f'"{number}"') for number, data in enumerate(versions)]

    def any_version(request: Request) -> Reply:
        handler = choose.choice(handlers)
        return dropped(handler, choose.randrange(_LARGE))(request) if choose.random() < 0.5 else handler(request)

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
    shell.run("verify", "--all")
    stored = {record["digest"] for record in shell.run("ls", "--format", "json").document["blobs"]}
    assert stored <= {sha256(data) for data in versions}
    print("resumed", resumed, "of", _ROUNDS)
