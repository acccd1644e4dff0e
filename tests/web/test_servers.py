"""Uvicorn, Granian and Hypercorn (asyncio and trio) serve blobs to curl."""

from __future__ import annotations

import hashlib
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from support.asgi_servers import SERVERS, AsgiServer, serving

from steelyard import LocalStore

from .oracle import expected, generated
from .programs import program

pytestmark = pytest.mark.slow

MIB = 1 << 20
SMALL = b"ten pounds of wool\n"
LARGE = random.Random(1).randbytes(20 * MIB + 3)
SHORT = random.Random(2).randbytes(700)


@dataclass
class Blobs:
    """Digests of blobs in a store."""

    root: Path
    small: str
    large: str
    short: str
    damaged: str


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Blobs:
    root = tmp_path_factory.mktemp("served")

    async def put() -> Blobs:
        async with LocalStore(root / "store") as store:
            digests = [
                str((await store.put(data)).digest)
                for data in (SMALL, LARGE, SHORT, random.Random(3).randbytes(9 * MIB))
            ]
        return Blobs(root, *digests)

    found = anyio.run(put)
    path = root / "store" / "blobs" / found.damaged.replace(":", "/")
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(8 * MIB)
        file.write(b"damage")
    return found


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, blobs: Blobs) -> Iterator[AsgiServer]:
    """Give a running server."""
    environment = {"STEELYARD_TEST_STORE": str(blobs.root / "store")}
    with serving(request.param, "web.served:app", blobs.root, environment=environment) as running:
        yield running


def curl(*words: str, url: str, directory: Path, code: int = 0) -> tuple[str, bytes]:
    """Run curl; return the headers and the bytes that it got."""
    head, body = directory / "head", directory / "body"
    head.unlink(missing_ok=True)
    command = [
        program("curl", "curl"),
        "--silent",
        "--show-error",
        "--dump-header",
        str(head),
        "--output",
        str(body),
        *words,
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert code == done.returncode, done.stderr
    return head.read_text(encoding="latin-1").lower(), body.read_bytes() if body.exists() else b""


def status(head: str) -> int:
    return int(head.split()[1])


@pytest.mark.parametrize("way", ["verified", "unverified"])
def test_a_whole_blob(server: AsgiServer, blobs: Blobs, tmp_path: Path, way: str) -> None:
    for digest, data in ((blobs.small, SMALL), (blobs.large, LARGE), (blobs.large, LARGE)):
        head, body = curl(url=f"{server.url}/{way}/{digest}", directory=tmp_path)
        assert 200 == status(head)
        assert data == body
        for line in (
            f"content-length: {len(data)}",
            f'etag: "{digest}"',
            "accept-ranges: bytes",
            "content-type: text/x-wool",
            'content-disposition: attachment; filename="wool.txt"',
            "cache-control: max-age=31536000, immutable",
            "repr-digest: sha-256=:",
        ):
            assert line in head


def test_only_granian_is_told_to_send_files(server: AsgiServer, blobs: Blobs, tmp_path: Path) -> None:
    """The other servers have no http.response.pathsend. This notices when one gets it, or Granian loses it."""
    before = int(curl(url=f"{server.url}/pathsends", directory=tmp_path)[1])
    curl(url=f"{server.url}/unverified/{blobs.large}", directory=tmp_path)
    after = int(curl(url=f"{server.url}/pathsends", directory=tmp_path)[1])

    assert (server.name == "granian") == (after > before)


def test_head_ranges_and_resumption(server: AsgiServer, blobs: Blobs, tmp_path: Path) -> None:
    url = f"{server.url}/verified/{blobs.large}"
    head, body = curl("--head", url=url, directory=tmp_path)
    assert (200, b"") == (status(head), body if not body.lower().startswith(b"http/") else b"")
    assert f"content-length: {len(LARGE)}" in head

    head, body = curl("--range", "1000-2999999", url=url, directory=tmp_path)
    assert (206, LARGE[1000:3000000]) == (status(head), body)
    assert f"content-range: bytes 1000-2999999/{len(LARGE)}" in head
    head, body = curl("--range", "-5", url=url, directory=tmp_path)
    assert (206, LARGE[-5:]) == (status(head), body)

    (tmp_path / "body").write_bytes(LARGE[: 7 * MIB])
    _, body = curl("--continue-at", "-", url=url, directory=tmp_path)
    assert LARGE == body


def test_several_ranges(server: AsgiServer, blobs: Blobs, tmp_path: Path) -> None:
    url = f"{server.url}/verified/{blobs.large}"
    head, body = curl("--range", "0-9,2000000-5000000", url=url, directory=tmp_path)

    assert 206 == status(head)
    boundary = head.partition("multipart/byteranges; boundary=")[2].split()[0].encode()
    first, second = body.split(b"--" + boundary)[1:-1]
    assert first.endswith(b"\r\n\r\n" + LARGE[:10] + b"\r\n")
    assert second.endswith(b"\r\n\r\n" + LARGE[2000000:5000001] + b"\r\n")


def test_curl_asks_again_by_its_entity_tag(server: AsgiServer, blobs: Blobs, tmp_path: Path) -> None:
    url, tag = f"{server.url}/verified/{blobs.large}", tmp_path / "tag"
    curl("--etag-save", str(tag), url=url, directory=tmp_path)
    (tmp_path / "body").unlink()
    head, body = curl("--etag-compare", str(tag), url=url, directory=tmp_path)

    assert (304, b"") == (status(head), body)
    assert f'etag: "{blobs.large}"' in head


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--request", "POST"], 405),
        (["--header", 'If-Match: "other"'], 412),
        (["--range", "99999999-"], 416),
        (["--header", "Range: bytes=5-2"], 200),
        (["--header", "Range: nonsense"], 200),
        (["--time-cond", "Mon, 30 Nov 2020 12:00:00 GMT"], 200),
    ],
)
def test_other_answers(server: AsgiServer, blobs: Blobs, tmp_path: Path, words: list[str], found: int) -> None:
    assert found == status(curl(*words, url=f"{server.url}/verified/{blobs.small}", directory=tmp_path)[0])


def test_an_absent_blob(server: AsgiServer, tmp_path: Path) -> None:
    for name in ("sha256:" + "00" * 32, "nonsense", "..%2f..%2fetc%2fpasswd"):
        assert 404 == status(curl(url=f"{server.url}/verified/{name}", directory=tmp_path)[0])


def test_a_damaged_blob_is_a_broken_transfer(server: AsgiServer, blobs: Blobs, tmp_path: Path) -> None:
    """18: curl got fewer bytes than Content-Length."""
    for _ in range(2):
        _, body = curl(url=f"{server.url}/verified/{blobs.damaged}", directory=tmp_path, code=18)
        assert len(body) < 9 * MIB
    assert 200 == status(curl(url=f"{server.url}/verified/{blobs.small}", directory=tmp_path)[0])


def test_ten_thousand_ranges(server: AsgiServer, blobs: Blobs, tmp_path: Path) -> None:
    """The application refuses them, or the server before it, where the field is longer than it takes."""
    value = ",".join(f"{place}-{place}" for place in range(0, 20000, 2))
    header = tmp_path / "header"
    header.write_text(f"Range: bytes={value}\n")
    head, _ = curl("--header", f"@{header}", url=f"{server.url}/verified/{blobs.small}", directory=tmp_path)

    assert status(head) in {400, 416, 431}


@pytest.mark.parametrize("way", ["verified", "unverified"])
def test_clients_that_go_leave_nothing_open(server: AsgiServer, blobs: Blobs, way: str) -> None:
    request = f"GET /{way}/{blobs.large} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    for number in range(40):
        with server.connect() as connection:
            connection.sendall(request)
            if number % 2:
                connection.recv(1000)
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(request.replace(b"Host", b"Range: bytes=5-, 7-, 0-1\r\nHost"))
            connection.recv(1000)

    end = time.monotonic() + 30
    while open_blobs(server):
        assert time.monotonic() < end, f"{open_blobs(server)} blobs stay open"
        time.sleep(0.05)


def open_blobs(server: AsgiServer) -> int:
    """Return how many blobs the server has open."""
    found = 0
    for entry in Path(f"/proc/{server.worker()}/fd").iterdir():
        try:
            target = entry.readlink()
        except OSError:
            continue
        found += "blobs" in target.parts and len(target.name) == 64
    return found


def test_generated_ranges_on_one_connection(server: AsgiServer, blobs: Blobs) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    choose = random.Random(seed)
    connection = server.http()
    count = 0
    while count < 500:
        value = generated(choose, len(SHORT))
        if len(value) > 4000 or value != value.strip() or not value.isascii():
            continue  # servers refuse or change such fields
        count += 1
        connection.request("GET", f"/verified/{blobs.short}", headers={"Range": value})
        answer = connection.getresponse()
        body = answer.read()
        wanted, ranges = expected(value, len(SHORT))
        assert wanted == answer.status, value
        if wanted == 200:
            assert SHORT == body
        elif len(ranges) == 1:
            first, last = ranges[0]
            assert SHORT[first : last + 1] == body, value
    connection.close()


@pytest.mark.parametrize("name", SERVERS)
def test_over_a_unix_socket(name: str, blobs: Blobs, tmp_path: Path) -> None:
    environment = {"STEELYARD_TEST_STORE": str(blobs.root / "store")}
    with serving(name, "web.served:app", tmp_path, unix=True, environment=environment) as server:
        _, body = curl(
            "--unix-socket", str(server.unix), url=f"{server.url}/verified/{blobs.large}", directory=tmp_path
        )
    assert hashlib.sha256(LARGE).digest() == hashlib.sha256(body).digest()


def test_over_http_2(server: AsgiServer, blobs: Blobs, tmp_path: Path) -> None:
    if server.name == "uvicorn":
        pytest.skip("Uvicorn has no HTTP/2")
    for way in ("verified", "unverified"):
        head, body = curl("--http2-prior-knowledge", url=f"{server.url}/{way}/{blobs.large}", directory=tmp_path)
        assert head.startswith("http/2 200")
        assert LARGE == body
    head, body = curl(
        "--http2-prior-knowledge", "--range", "5-9", url=f"{server.url}/verified/{blobs.large}", directory=tmp_path
    )
    assert (206, LARGE[5:10]) == (status(head), body)
