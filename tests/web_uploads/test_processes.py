"""Two server processes on one store: the lock of the ref is between them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.asgi_servers import AsgiServer, serving

from steelyard.testing._values import digest_of

from .clients import curl
from .raw import Trickle, asked, begun, created, wait_until_written

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AsgiServer, AsgiServer]]:
    """Run two servers on one store."""
    place = tmp_path_factory.mktemp("servers")
    environment = {"STORE": str(place / "store"), "LIMITS": json.dumps({"stalled_after": 2})}
    directories = [place / "first", place / "second"]
    for directory in directories:
        directory.mkdir()
    app = "web_uploads.application:uploads"
    with (
        serving("uvicorn", app, directories[0], environment=environment) as first,
        serving("uvicorn", app, directories[1], environment=environment) as second,
    ):
        yield first, second


def test_another_process_refuses_a_second_request_and_takes_over_a_stalled_one(
    servers: tuple[AsgiServer, AsgiServer],
) -> None:
    first, second = servers
    location = created(first, 10_000)
    url = f"{second.url}/{location}"
    with begun(first, location, 0, 10_000) as stalled:
        with Trickle(stalled):
            wait_until_written(url)
            patch = curl("-X", "PATCH", "-H", "Upload-Offset: 0", url, data=b"b" * 600)
            refused = [patch, curl("--head", url), curl("-X", "DELETE", url)]
        offset = asked(url)
        rest = 10_000 - offset
        taken = curl("-X", "PATCH", "-H", f"Upload-Offset: {offset}", url, data=b"b" * rest)
        stalled.sendall(b"c" * rest)
        late = stalled.recv(1000)

    assert [423, 423, 423] == [response.status for response in refused]
    assert str(digest_of(b"a" * offset + b"b" * rest)) == taken.headers["steelyard-digest"]
    assert late.startswith(b"HTTP/1.1 4"), late


def test_each_process_knows_the_uploads_of_the_other(servers: tuple[AsgiServer, AsgiServer]) -> None:
    location = created(servers[0], 10)
    for offset in range(10):
        server = servers[offset % 2]
        last = curl("-X", "PATCH", "-H", f"Upload-Offset: {offset}", f"{server.url}/{location}", data=b"a")
        assert 204 == last.status, last.text

    for server in servers:
        assert (
            last.headers["steelyard-digest"] == curl("--head", f"{server.url}/{location}").headers["steelyard-digest"]
        )
    assert 204 == curl("-X", "DELETE", f"{servers[0].url}/{location}").status
    assert 404 == curl("--head", f"{servers[1].url}/{location}").status


def test_the_last_answer_of_a_killed_process_comes_from_another(tmp_path: Path) -> None:
    environment = {"STORE": str(tmp_path / "store")}
    with serving("uvicorn", "web_uploads.application:uploads", tmp_path, environment=environment) as server:
        location = created(server, 10)
        curl("-X", "PATCH", "-H", "Upload-Offset: 0", f"{server.url}/{location}", data=b"a" * 10)
        server.kill()
    with serving("granian", "web_uploads.application:uploads", tmp_path, environment=environment) as server:
        found = curl("--head", f"{server.url}/{location}").headers

    assert ("10", str(digest_of(b"a" * 10))) == (found["upload-offset"], found["steelyard-digest"])
