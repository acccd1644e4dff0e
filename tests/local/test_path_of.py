"""`LocalStore.path_of`: the file of a blob, for programs that read files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from steelyard import DataCorrupt, FailedPrecondition, InvalidArgument, LocalStore, NotFound
from steelyard._runtime import calls
from steelyard.digest import Algorithm

pytestmark = pytest.mark.anyio

DATA = b"ten pounds of wool"


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_the_path_is_absolute_and_has_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm
) -> None:
    monkeypatch.chdir(tmp_path)
    async with LocalStore("store") as store:
        digest = (await store.put(DATA, algorithm=algorithm)).digest
        before = calls.counts()["hops"]
        path = await store.path_of(str(digest))

        assert 1 == calls.counts()["hops"] - before
        assert tmp_path / "store" / "blobs" / algorithm / digest.encoded == path == await store.path_of(digest)
        assert DATA == path.read_bytes()
        assert not path.stat().st_mode & 0o222


async def test_a_blob_can_be_sent_from_its_file(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        path = await store.path_of((await store.put(DATA)).digest)
    near, far = socket.socketpair()
    with near, far, path.open("rb") as file:  # the path is that of a file, also when the store is closed
        assert len(DATA) == os.sendfile(near.fileno(), file.fileno(), 0, 100)
        assert DATA == far.recv(100)


async def test_what_is_not_stored_has_no_path(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        digest = (await store.put(DATA)).digest
        path = await store.path_of(digest)
        with path.open("rb") as opened:
            await store.delete(digest)
            with pytest.raises(NotFound) as caught:
                await store.path_of(digest)
            assert digest == caught.value.digest
            assert not path.exists()
            assert DATA == opened.read()
        with pytest.raises(NotFound):
            await store.path_of("blake3:" + "0" * 64)  # an algorithm without any blob
        with pytest.raises(InvalidArgument):
            await store.path_of("../../etc/passwd")
    with pytest.raises(FailedPrecondition):
        await store.path_of(digest)


async def test_the_bytes_are_not_verified_and_quarantine_moves_the_file(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        digest = (await store.put(DATA)).digest
        path = await store.path_of(digest)
        path.chmod(0o600)
        path.write_bytes(b"damaged, of this")

        assert path == await store.path_of(digest)
        with pytest.raises(DataCorrupt):
            await store.verify(digest)
        with pytest.raises(NotFound):
            await store.path_of(digest)


async def test_a_read_only_store_has_paths_too(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        digest = (await store.put(DATA)).digest
    async with LocalStore(tmp_path / "store", read_only=True) as store:
        assert DATA == (await store.path_of(digest)).read_bytes()
