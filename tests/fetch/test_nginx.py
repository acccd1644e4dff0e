"""Downloads from nginx, a server that we did not write."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from steelyard import LocalStore
from steelyard.errors import NotFound
from steelyard.fetch import Retries, fetch, fetch_many

from .server import content

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

LARGE = 24 << 20
CONFIG = """
daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; gzip on; gzip_types *; gzip_min_length 1; default_type text/plain;
  client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d; scgi_temp_path {root}/e;
  server {{
    listen 127.0.0.1:{port}; root {root}/files;
    location /times/ {{ alias {root}/files/; etag off; }}
    location /slow/ {{ alias {root}/files/; limit_rate 16m; }}
    location /moved/ {{ rewrite ^/moved/(.*)$ /$1 permanent; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Run an nginx; give its URL and the directory of its files."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        message = "nginx is not installed: `apt-get install nginx-light`"
        if os.environ.get("STEELYARD_ALL_PROGRAMS"):
            pytest.fail(message)
        pytest.skip(message)
    root = tmp_path_factory.mktemp("nginx")
    (root / "files").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    user = "user root;" if os.getuid() == 0 else ""  # else its worker may not read the files of a private directory
    (root / "config").write_text(CONFIG.format(root=root, port=port, user=user))
    process = subprocess.Popen([program, "-c", str(root / "config"), "-e", str(root / "error")])
    try:
        while True:
            assert process.poll() is None, (root / "error").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}", root / "files"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("place", ["", "times/"], ids=["entity tag", "time"])
async def test_an_interrupted_download_is_resumed(nginx: tuple[str, Path], tmp_path: Path, place: str) -> None:
    url, files = nginx
    data = content(LARGE)
    (files / "large").write_bytes(data)
    os.utime(files / "large", (time.time() - 3600,) * 2)
    async with LocalStore(tmp_path / "store") as store:
        with anyio.CancelScope() as scope:
            await fetch(
                store,
                f"{url}/{place}large",
                on_progress=lambda one: scope.cancel() if one.done > 4 << 20 else None,
            )
        assert scope.cancelled_caught
        (kept,) = await store.list_statuses()
        first = []
        result = await fetch(store, f"{url}/{place}large", on_progress=lambda one: first.append(one.done))
        assert first[0] > kept.offset >= 4 << 20
        assert data == await store.get(result.digest)


async def test_a_file_that_changed_is_fetched_again(nginx: tuple[str, Path], tmp_path: Path) -> None:
    url, files = nginx
    (files / "changing").write_bytes(content(LARGE, 1))
    async with LocalStore(tmp_path / "store") as store:
        with anyio.CancelScope() as scope:
            await fetch(
                store, f"{url}/changing", on_progress=lambda one: scope.cancel() if one.done > 4 << 20 else None
            )
        (files / "changing").write_bytes(content(LARGE + 1, 2))
        result = await fetch(store, f"{url}/changing")
        assert content(LARGE + 1, 2) == await store.get(result.digest)
        assert [] == await store.list_statuses()


async def test_many_files_redirects_and_a_missing_one(nginx: tuple[str, Path], tmp_path: Path) -> None:
    url, files = nginx
    for number in range(100):
        (files / str(number)).write_bytes(content(number * 100, number))
    urls = [f"{url}/{'moved/' if number % 2 else ''}{number}" for number in range(100)]
    async with LocalStore(tmp_path / "store") as store:
        found = {one.index: one.result async for one in fetch_many(store, urls, retries=Retries(first_seconds=0.001))}
        for number in range(100):
            assert content(number * 100, number) == await store.get(found[number].digest)
        with pytest.raises(NotFound):
            await fetch(store, f"{url}/absent")


async def test_several_ranges_are_faster_where_each_connection_is_slow(nginx: tuple[str, Path], tmp_path: Path) -> None:
    """The server sends 16 MiB each second on a connection, so one of them takes five seconds for this file."""
    url, files = nginx
    data = content(80 << 20)
    (files / "slow").write_bytes(data)
    seconds = {}
    for ranges in (1, 4):
        async with LocalStore(tmp_path / f"{ranges}") as store:
            begun = time.perf_counter()
            result = await fetch(store, f"{url}/slow/slow", ranges=ranges)
            seconds[ranges] = time.perf_counter() - begun
            assert data == await store.get(result.digest)
    print(seconds)  # three times as fast on a machine at rest
    assert seconds[1] > 1.5 * seconds[4], seconds


async def test_a_file_that_changes_while_its_parts_are_fetched(nginx: tuple[str, Path], tmp_path: Path) -> None:
    url, files = nginx
    old, new = content(80 << 20, 1), content((80 << 20) + 1, 2)
    (files / "moving").write_bytes(old)
    (files / "next").write_bytes(new)

    def change(done: int) -> None:
        if done > 10 << 20 and (files / "next").exists():
            (files / "next").rename(files / "moving")

    async with LocalStore(tmp_path / "store") as store:
        result = await fetch(store, f"{url}/slow/moving", on_progress=lambda one: change(one.done))
        assert new == await store.get(result.digest)
        assert 1 == len([info async for info in store.walk()])
        assert [] == await store.list_statuses()
