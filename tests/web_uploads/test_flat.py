"""A server's memory and descriptors do not grow with the uploads."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.asgi_servers import SERVERS, AsgiServer, serving

from .clients import curl
from .raw import begun, created, wait_for_offset

pytestmark = pytest.mark.slow

MIB = 1 << 20
_GROWTH = 28 * MIB
"""More than the write buffers of a store, and what servers keep of some connections."""


@pytest.mark.parametrize("name", SERVERS)
def test_memory_and_descriptors_are_flat(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    size = 128 * MIB if name in {"uvicorn", "granian"} else 32 * MIB
    with file.open("wb") as output:
        output.truncate(size)
    with serving(
        name, "web_uploads.application:uploads", tmp_path, environment={"STORE": str(tmp_path / "store")}
    ) as server:
        for _ in range(3):
            upload(server, 100_000)
        memory, files = peak(server), descriptors(server)
        # One large request, some at once, many small ones, and some that break.
        location = created(server, size)
        large = curl("-X", "PATCH", "-H", "Upload-Offset: 0", f"{server.url}/{location}", data=file)
        assert 204 == large.status
        with ThreadPoolExecutor(8) as threads:
            assert [204] * 16 == list(threads.map(lambda _: upload(server, MIB), range(16)))
        for _ in range(20):
            upload(server, 10_000)
        broken = [created(server, MIB) for _ in range(10)]
        for location in broken:
            with begun(server, location, 0, MIB) as connection:
                connection.sendall(b"a" * 100_000)
        for location in broken:
            wait_for_offset(f"{server.url}/{location}", 100_000)
        grown = peak(server) - memory
        end = time.monotonic() + 60
        while (left := descriptors(server)) > files and time.monotonic() < end:
            time.sleep(0.05)
        print(name, "grew by", grown // MIB, "MiB; descriptors", files, left)

        assert grown < _GROWTH
        assert left <= files


def upload(server: AsgiServer, size: int) -> int:
    """Upload some bytes, and return the status."""
    location = created(server, size)
    data = location.encode() * (size // len(location)) + b"." * (size % len(location))
    return curl("-X", "PATCH", "-H", "Upload-Offset: 0", f"{server.url}/{location}", data=data).status


def peak(server: AsgiServer) -> int:
    """Return the most memory that the process of the application has had."""
    status = Path(f"/proc/{server.worker()}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def descriptors(server: AsgiServer) -> int:
    """Return the number of its open files and sockets, without connections that it keeps open."""
    found = 0
    for entry in Path(f"/proc/{server.worker()}/fd").iterdir():
        try:
            found += not str(entry.readlink()).startswith("anon_inode")
        except FileNotFoundError:
            continue
    return found
