"""The socket's path: private before it is found, never taken from another, gone at the end."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio
import pytest

from steelyard import InvalidArgument, MemoryStore, StorageError
from steelyard.containerd import RemoteStore
from steelyard.containerd.service import Server, parse_address

from .wire import off_loop, wire

pytestmark = pytest.mark.anyio


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


async def test_the_socket_is_its_owners_alone_and_all_is_gone_at_the_end(short_path: Path) -> None:
    path = short_path / "made" / "content.sock"
    before = os.umask(0)
    try:
        async with Server(MemoryStore(), path) as server:
            assert path == server.path
            assert 0o600 == stat.S_IMODE(path.stat().st_mode)
            assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
            assert can_connect(path)
    finally:
        os.umask(before)

    assert [] == list(path.parent.iterdir())


async def test_the_socket_is_never_seen_with_another_mode(short_path: Path) -> None:
    """Another process looks at every name that appears in the directory, as it appears, through inotify's own log."""
    watcher = (
        "import ctypes, os, struct, sys\n"
        "libc = ctypes.CDLL(None); fd = libc.inotify_init1(0)\n"
        "libc.inotify_add_watch(fd, sys.argv[1].encode(), 0x100)\n"  # IN_CREATE
        "print('ready', flush=True)\n"
        "seen = set()\n"
        "while 'content.sock' not in seen:\n"
        "    data = os.read(fd, 65536); at = 0\n"
        "    while at < len(data):\n"
        "        size = struct.unpack_from('iIII', data, at)[3]\n"
        "        name = data[at + 16 : at + 16 + size].rstrip(b'\\0').decode(); at += 16 + size; seen.add(name)\n"
        "        try: print(name, oct(os.lstat(os.path.join(sys.argv[1], name)).st_mode & 0o777), flush=True)\n"
        "        except FileNotFoundError: pass\n"
    )
    before = os.umask(0)
    try:
        with subprocess.Popen(  # noqa: ASYNC220 - it looks on from outside
            [sys.executable, "-c", watcher, short_path], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert "ready\n" == process.stdout.readline()
            async with Server(MemoryStore(), short_path / "content.sock"):
                out = await off_loop(lambda: process.communicate(timeout=60)[0])
    finally:
        os.umask(before)

    modes = dict(line.split() for line in out.splitlines())
    assert "0o600" == modes.pop("content.sock")
    assert "0o600" == modes.pop("content.sock.lock")
    assert {"0o700"} == set(modes.values())


async def test_a_socket_on_which_no_server_answers_is_replaced(short_path: Path) -> None:
    path = short_path / "content.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert not can_connect(path)
    async with Server(MemoryStore(), path):
        assert can_connect(path)


async def test_a_socket_that_a_server_answers_on_is_not_removed(short_path: Path) -> None:
    path = short_path / "content.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        with pytest.raises(StorageError) as caught:
            await Server(MemoryStore(), path).__aenter__()

        assert (errno.EADDRINUSE, str(path)) == (caught.value.errno, caught.value.filename)
        assert ["content.sock"] == names_in(short_path)
        assert can_connect(path)


async def test_a_second_server_does_not_get_the_path_of_the_first(short_path: Path) -> None:
    async with Server(MemoryStore(), short_path / "content.sock") as first:
        with pytest.raises(StorageError) as caught:
            await Server(MemoryStore(), first.path).__aenter__()

        assert errno.EADDRINUSE == caught.value.errno
        assert can_connect(first.path)
    async with Server(MemoryStore(), first.path):
        assert can_connect(first.path)


async def test_of_servers_that_race_for_a_path_exactly_one_has_it(short_path: Path) -> None:
    path = short_path / "content.sock"
    won: list[Server] = []
    lost: list[int | None] = []
    done = anyio.Event()

    async def run() -> None:
        try:
            async with Server(MemoryStore(), path) as server:
                won.append(server)
                await done.wait()
        except StorageError as error:
            lost.append(error.errno)
        if len(lost) == 7:
            done.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(run)

    assert (1, [errno.EADDRINUSE] * 7) == (len(won), lost)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
async def test_what_is_no_socket_is_never_replaced(short_path: Path, kind: str) -> None:
    path = short_path / "content.sock"
    if kind == "file":
        path.write_bytes(b"precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(StorageError) as caught:
        await Server(MemoryStore(), path).__aenter__()

    assert errno.ENOTSOCK == caught.value.errno
    assert ["content.sock"] == names_in(short_path)
    assert kind != "file" or path.read_bytes() == b"precious"


async def test_a_socket_that_is_no_longer_ours_is_not_removed(short_path: Path) -> None:
    path = short_path / "content.sock"
    with socket.socket(socket.AF_UNIX) as other:
        async with Server(MemoryStore(), path):
            path.unlink()
            other.bind(str(path))

        assert ["content.sock"] == names_in(short_path)


async def test_a_directory_that_is_not_there_is_an_error_with_its_name(short_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        await Server(MemoryStore(), short_path / "a" / "b" / "content.sock").__aenter__()

    assert (errno.ENOENT, str(short_path / "a" / "b")) == (caught.value.errno, caught.value.filename)


async def test_a_path_may_be_as_long_as_a_socket_allows_and_have_any_letters(short_path: Path) -> None:
    name = "50%25 ü #?"
    path = short_path / (name + "x" * (107 - len(os.fsencode(short_path / name))))
    async with Server(MemoryStore(), path) as server:
        assert can_connect(server.path)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "tcp://localhost:80",
        "unix:",
        "unix://",
        "unix://run/a.sock",
        "dns:x",
        "npipe:x",
        "a\0b",
        "a\ud800",
        "/" + "x" * 107,
        "vsock:1:2",
    ],
)
def test_an_address_that_is_no_path_is_refused(address: str) -> None:
    for take in parse_address, RemoteStore, partial(Server, MemoryStore()):
        with pytest.raises(InvalidArgument, match="address"):
            take(address)


def test_an_address_is_a_path_or_a_path_after_its_scheme(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert Path("/run/a.sock") == parse_address("/run/a.sock") == parse_address("unix:///run/a.sock")
    assert Path("/run/a.sock") == parse_address("unix:/run/a.sock") == parse_address(Path("/run/a.sock"))
    assert tmp_path / "a.sock" == parse_address("a.sock") == parse_address("unix:a.sock")
    assert tmp_path / "a:b" == parse_address("./a:b")


async def test_clients_connect_by_the_address_that_the_server_gives(short_path: Path) -> None:
    async with Server(MemoryStore(), short_path / "content.sock") as server:

        def client() -> None:
            with wire(server.address) as connected:
                assert b"data" == connected.read(connected.store(b"data"))

        await off_loop(client)
