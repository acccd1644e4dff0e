"""Uploads in every server, by clients that we did not write."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from support.asgi_servers import SERVERS, AsgiServer, serving

from steelyard import LocalStore
from steelyard.digest import Digest

from .client import checksum
from .clients import CLIENTS, curl, uploaded
from .raw import Trickle, asked, begun, created, wait_for_offset, wait_until_written

pytestmark = pytest.mark.slow

MIB = 1 << 20


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsgiServer]:
    """Run each server with the application."""
    place = tmp_path_factory.mktemp(request.param)
    environment = {"STORE": str(place / "store"), "LIMITS": json.dumps({"stalled_after": 2, "max_size": 1 << 32})}
    with serving(request.param, "web_uploads.application:uploads", place, environment=environment) as running:
        yield running
        assert "Traceback" not in running.said()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file of 9 MiB and some bytes."""
    path = tmp_path_factory.mktemp("file") / "wool.bin"
    path.write_bytes(random.Random(3).randbytes(9 * MIB + 77))
    return path


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def stored(server: AsgiServer, digest: str) -> bytes:
    """Read a blob, verified, beside the server."""

    async def read() -> bytes:
        async with LocalStore(server.log.parent / "store") as store:
            return await store.get(Digest.parse(digest))

    return anyio.run(read)


def head(url: str) -> dict[str, str]:
    response = curl("--head", url)
    assert 200 == response.status
    return response.headers


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("size", [0, 1, 9 * MIB + 77])
def test_clients_upload_a_file(server: AsgiServer, client: str, size: int, file: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(file.read_bytes()[:size])
    name = "chunk_size" if client == "tuspy" else "chunkSize"
    urls = [
        uploaded(client, f"{server.url}/", part),
        uploaded(client, f"{server.url}/", part, **{name: 2 * MIB}),
    ]

    for url in urls:
        found = head(url)
        assert (str(size), sha256(part.read_bytes())) == (found["upload-offset"], found["steelyard-digest"])
    assert part.read_bytes() == stored(server, found["steelyard-digest"])


@pytest.mark.parametrize("chunk", [MIB // 2, 5 * MIB, 1 << 40])
def test_tuspy_with_checksums(server: AsgiServer, file: Path, chunk: int) -> None:
    url = uploaded("tuspy", f"{server.url}/", file, chunk_size=chunk, upload_checksum=True)

    assert sha256(file.read_bytes()) == head(url)["steelyard-digest"]


@pytest.mark.parametrize(
    "options",
    [
        {"uploadDataDuringCreation": True, "chunkSize": 4 * MIB},
        {"uploadLengthDeferred": True, "chunkSize": 4 * MIB, "isStream": True},
        {"overridePatchMethod": True},
    ],
    ids=["creation with upload", "length comes later", "method in a field"],
)
def test_tus_js_client_with_its_options(server: AsgiServer, file: Path, options: dict[str, object]) -> None:
    url = uploaded("tus-js-client", f"{server.url}/", file, **options)

    assert sha256(file.read_bytes()) == head(url)["steelyard-digest"]


def test_curl_follows_the_protocol(server: AsgiServer, file: Path) -> None:
    size = file.stat().st_size
    assert 204 == curl("-X", "OPTIONS", f"{server.url}/").status
    url = f"{server.url}/{created(server, size)}"
    wrong = curl("-X", "PATCH", "-H", "Upload-Offset: 1", url, data=file)
    bad = curl("-X", "PATCH", "-H", "Upload-Offset: 0", "-H", f"Upload-Checksum: {checksum(b'x')}", url, data=file)
    part = curl("-X", "PATCH", "-H", "Upload-Offset: 0", url, data=file.read_bytes()[:MIB])
    chunked = ("-X", "PATCH", "-H", f"Upload-Offset: {MIB}", "-H", "Transfer-Encoding: chunked")
    last = curl(*chunked, url, data=file.read_bytes()[MIB:])
    more = curl("-X", "PATCH", "-H", f"Upload-Offset: {size}", url, data=b"x")

    found = [wrong, bad, part, last, more]
    assert [409, 460, 204, 204, 413] == [response.status for response in found], [response.text for response in found]
    assert sha256(file.read_bytes()) == last.headers["steelyard-digest"]
    assert 204 == curl("-X", "DELETE", url).status
    assert 404 == curl("--head", url).status


def test_a_patch_takes_over_from_a_stalled_one_and_not_from_another(server: AsgiServer) -> None:
    location = created(server, 10_000)
    url = f"{server.url}/{location}"
    with begun(server, location, 0, 10_000) as stalled:
        with Trickle(stalled) as trickle:
            wait_until_written(url)
            refused = [curl("-X", "PATCH", "-H", "Upload-Offset: 0", url, data=b"b" * 600), curl("--head", url)]
        offset = asked(url)
        rest = 10_000 - offset
        taken = curl("-X", "PATCH", "-H", f"Upload-Offset: {offset}", url, data=b"b" * rest)
        stalled.sendall(b"c" * rest)
        late = stalled.recv(1000)

    assert [423, 423] == [response.status for response in refused]
    assert trickle.sent == offset
    assert 204 == taken.status
    assert late.startswith(b"HTTP/1.1 4"), late
    assert b"a" * offset + b"b" * rest == stored(server, taken.headers["steelyard-digest"])


def test_what_arrived_counts_when_the_connection_breaks(server: AsgiServer) -> None:
    location = created(server, 10_000_000)
    sent = 0
    for _ in range(3):
        with begun(server, location, sent, 10_000_000 - sent) as broken:
            broken.sendall(b"a" * 1_000_000)
            time.sleep(0.2)
        sent += 1_000_000
        wait_for_offset(f"{server.url}/{location}", sent)
    # A break in a body with a checksum leaves nothing of it.
    with begun(server, location, sent, 10_000_000 - sent, f"Upload-Checksum: {checksum(b'')}\r\n") as broken:
        broken.sendall(b"b" * 5_000_000)
        time.sleep(0.2)

    assert sent == asked(f"{server.url}/{location}")
