"""A server that is killed: no acknowledged byte is lost, no wrong byte is stored, and the application is told."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from support.asgi_servers import SERVERS, AsgiServer, free_port, serving
from support.ingested import ingested

from steelyard import LocalStore
from steelyard.digest import Digest
from steelyard.testing._values import digest_of
from steelyard.web.uploads import Upload, Uploads

from .client import Answer, Client
from .clients import CLIENTS, curl, finished, started
from .killed import DATA, HALF
from .page import FASTAPI
from .raw import begun, created

pytestmark = pytest.mark.slow

MIB = 1 << 20
APP = "web_uploads.application:uploads"


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """Give a directory for some GiB: in memory if there is room, because a disk may take minutes for them."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 6 << 30:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as place:
        yield Path(place)


@pytest.mark.parametrize("kind", ["plain", "checksum"])
def test_a_kill_at_any_step_of_the_last_request_loses_nothing(tmp_path: Path, kind: str) -> None:
    step = 0
    while True:
        place = tmp_path / f"{step}"
        done = subprocess.run(
            [sys.executable, "-m", "web_uploads.killed", str(place), str(step), kind],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        path, *more = done.stdout.split()
        offset, answer, told = anyio.run(resumed, place, path)
        print(kind, step, done.returncode, offset)

        assert offset in ({HALF, len(DATA)} if kind == "checksum" else {*range(HALF, len(DATA) + 1)})
        assert str(digest_of(DATA)) == answer.headers["steelyard-digest"]
        assert told, f"the application does not know of it after a kill at step {step}"
        if more:
            assert ("204", 0) == (more[0], done.returncode)
            break
        assert -signal.SIGKILL == done.returncode, done.stderr
        step += 1
    assert step > 5


async def resumed(place: Path, path: str) -> tuple[int, Answer, bool]:
    """Resume an upload as a client does, and return the first offset, the last answer, and whether the application was told."""
    async with LocalStore(place) as store:

        async def on_complete(upload: Upload) -> None:
            await store.images.assign({f"files/{upload.id}": upload.descriptor}, overwrite=True)

        client = Client(Uploads(store, on_complete=on_complete))
        answer = await client("HEAD", path)
        offset = answer.offset
        if offset < len(DATA):
            answer = await client.patch(path, offset, DATA[offset:])
        assert DATA == await store.get(answer.headers["steelyard-digest"])
        return offset, answer, ["files" + path] == [image.name for image in await store.images.list()]


@pytest.mark.parametrize("name", SERVERS)
def test_no_kill_loses_what_was_acknowledged(name: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    choose = random.Random(seed)
    data = choose.randbytes(12 * MIB + 5)
    port = free_port()
    location, known, kills = "", 0, 0
    while True:
        with serving(name, APP, tmp_path, port=port, environment={"STORE": str(tmp_path / "store")}) as server:
            if not location:
                location = created(server, len(data))
            found = curl("--head", f"{server.url}/{location}")
            offset = int(found.headers["upload-offset"])
            assert known <= offset
            if offset == len(data):
                break
            # A request that is acknowledged, and one that is killed.
            part = data[offset : offset + choose.randrange(1, 2 * MIB)]
            last = curl("-X", "PATCH", "-H", f"Upload-Offset: {offset}", f"{server.url}/{location}", data=part)
            assert 204 == last.status, last.text
            known = int(last.headers["upload-offset"])
            if known < len(data):
                kill_within_a_request(server, location, known, data, choose)
                kills += 1
    assert str(digest_of(data)) == found.headers["steelyard-digest"]
    assert data == stored(tmp_path / "store", found.headers["steelyard-digest"])
    assert kills > 1


def kill_within_a_request(server: AsgiServer, location: str, offset: int, data: bytes, choose: random.Random) -> None:
    size = min(len(data) - offset, choose.randrange(1, 4 * MIB))
    with begun(server, location, offset, size) as connection:
        connection.sendall(data[offset : offset + size - 1])
        time.sleep(choose.random() * 0.1)  # any moment will do
        server.kill()


def stored(place: Path, digest: str) -> bytes:
    async def read() -> bytes:
        async with LocalStore(place) as store:
            return await store.get(Digest.parse(digest))

    return anyio.run(read)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_goes_on_by_itself_after_a_kill(client: str, tmp_path: Path) -> None:
    upload_with_kills("uvicorn", client, tmp_path, 64 * MIB, kills=2)


@pytest.mark.parametrize(("name", "client"), [("uvicorn", "tus-js-client"), ("granian", "tuspy")])
def test_an_upload_of_1_gib_to_ten_lines_of_fastapi_survives_a_kill(name: str, client: str, large: Path) -> None:
    (large / "example.py").write_text(FASTAPI, encoding="utf-8")
    upload_with_kills(name, client, large, 1024 * MIB, kills=1, app="example:app", path="/files/")


def upload_with_kills(
    name: str, client: str, place: Path, size: int, *, kills: int, app: str = APP, path: str = "/"
) -> None:
    """Upload a file in one request, and kill the server in the middle of it."""
    file, store, port = place / "wool.bin", place / "example-store", free_port()
    block = random.Random(size).randbytes(MIB)
    with file.open("wb") as output:
        for number in range(size // MIB):
            output.write(number.to_bytes(8) + block[8:])
    process = None
    try:
        for kill in range(kills + 1):
            with serving(name, app, place, port=port, environment={"STORE": str(store)}) as server:
                process = process or started(client, server.url + path, file)
                if kill < kills:
                    wait_for(store, size * (kill + 1) // (kills + 1))
                    assert process.poll() is None
                    server.kill()
                    continue
                url = finished(process)
                found = curl("--head", url).headers
                # The client did not begin again.
                assert 1 == leases(store)
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.communicate()
    digest = Digest.parse(found["steelyard-digest"])
    blob = store / "blobs" / digest.algorithm.value / digest.encoded
    assert size == int(found["upload-offset"]) == blob.stat().st_size
    assert 0 == subprocess.run(["cmp", str(file), str(blob)]).returncode
    file.unlink()
    blob.unlink()


def wait_for(store: Path, size: int) -> None:
    """Wait until so many bytes of an upload have arrived."""
    end = time.monotonic() + 120
    while ingested(store) < size:
        assert time.monotonic() < end, f"{ingested(store)} bytes"
        time.sleep(0.002)


def leases(place: Path) -> int:
    """Return the number of uploads."""

    async def count() -> int:
        async with LocalStore(place) as store:
            return len(await store.leases.list())

    return anyio.run(count)
