"""The file system of a store behind containerd's protocol."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from containerd.conftest import grpc_itself  # noqa: F401  # a fixture of the whole run
from trees.conftest import FILES, make_source

from steelyard import LocalStore
from steelyard.containerd.service import Server
from steelyard.fs import SteelyardFileSystem
from steelyard.trees import put_tree

LARGE = bytes(range(256)) * (12 << 12)


def use(address: str, out: Path) -> None:
    """Read, write and change, from a thread beside the server."""
    files = SteelyardFileSystem(address)
    assert FILES["a/one"] == files.cat("work/tree/a/one")
    assert [FILES["a.txt"][1:3], FILES["a/two"][1:3]] == files.cat_ranges(
        ["work/tree/a.txt", "work/tree/a/two"], [1, 1], [3, 3]
    )
    files.pipe({"a/1": b"1", "a/2": b"2"})
    with files.open("a/large", "wb") as file:
        file.write(LARGE)
    assert {"a/1": b"1", "a/2": b"2", "a/large": LARGE} == files.cat("a", recursive=True)
    files.cp("work/tree", "again", recursive=True)
    files.rm("a/1")
    assert ["a/2", "a/large"] == files.find("a")
    files.get("again/a/b", str(out), recursive=True)
    assert b"deep" == (out / "deep").read_bytes()
    files.close()
    files.clear_instance_cache()


def test_a_store_behind_a_service_is_used_by_its_address(tmp_path: Path) -> None:
    async def main(socket: Path) -> None:
        async with LocalStore(tmp_path / "store", durability="process-crash") as store, Server(store, socket):
            await put_tree(store, make_source(tmp_path / "source"), name="work/tree")
            await anyio.to_thread.run_sync(use, f"containerd://{socket}?namespace=default", tmp_path / "out")
            assert [] == await store.list_statuses()
            assert [] == await store.leases.list()

    with TemporaryDirectory(prefix="steelyard-") as short:  # a socket's path is at most 107 bytes
        anyio.run(main, Path(short) / "socket")
