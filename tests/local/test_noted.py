"""Blobs that a collection noted as garbage: each call that says "already stored" removes the note first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from support.make_archives import layout, one_image, tar

from steelyard import AlreadyExists, Digest, LocalStore, copy, digest_of
from steelyard.images import import_images
from steelyard.memory import MemoryStore

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)
DATA = b"stored" * 40
LARGE = bytes(9 << 20)


NOTES = """
import sqlite3, sys
for row in sqlite3.connect(sys.argv[1] + "/meta.db").execute("SELECT digest FROM notes"):
    print(*row)
"""


def noted(root: str | Path) -> set[Digest]:
    """Return the digests of all notes. Another process reads them: a second SQLite in this one would free locks of ours."""
    run = subprocess.run([sys.executable, "-c", NOTES, str(root)], capture_output=True, check=True, text=True)
    return {Digest.parse(line) for line in run.stdout.split()}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """Give a store in which a collection noted both blobs."""
    async with LocalStore(tmp_path / "store", durability="process-crash") as store:
        digests = {(await store.put(data)).digest for data in (DATA, LARGE)}
        collected = await store.collect(grace=HOUR)
        assert (0, digests) == (collected.blobs, noted(tmp_path / "store"))
        yield store


async def expect(store: LocalStore) -> None:
    with suppress(AlreadyExists):
        await store.writer("ref", expected=await digest_of(DATA))


async def commit(store: LocalStore) -> None:
    async with store.writer("ref") as writer:
        await writer.write(DATA)
        with suppress(AlreadyExists):
            await writer.commit()


async def put_many(store: LocalStore) -> None:
    async with aclosing(store.put_many([b"one", DATA, b"two"])) as results:
        assert [None] * 3 == [result.error async for result in results]


async def copied(store: LocalStore) -> None:
    other = MemoryStore()
    digest = (await other.put(DATA)).digest
    await copy(other, digest, store)


async def leased(store: LocalStore) -> None:
    async with store.lease() as under:
        await under.put(DATA)


async def entered(store: LocalStore) -> None:
    async with store.lease() as under:
        await under.leases.add(under.lease_id or "", digests=[await digest_of(DATA)])


async def put_expected(store: LocalStore) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield DATA

    await store.put(pieces(), expected=await digest_of(DATA))


WAYS: dict[str, Callable[[LocalStore], Awaitable[object]]] = {
    "put": lambda store: store.put(DATA),
    "put pieces": lambda store: store.put([DATA[:9], DATA[9:]]),
    "put of an expected blob": put_expected,
    "put by a ref": lambda store: store.put(DATA, ref="ref"),
    "put_many": put_many,
    "writer": expect,
    "commit": commit,
    "copy": copied,
    "lease": leased,
    "entry": entered,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_that_finds_a_blob_removes_its_note(store: LocalStore, way: str) -> None:
    await WAYS[way](store)

    assert {await digest_of(LARGE)} == noted(store.path)


async def test_a_put_of_a_stored_file_removes_its_note(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)

    assert not (await store.put(tmp_path / "large")).new
    assert {await digest_of(DATA)} == noted(store.path)


async def test_an_import_of_stored_blobs_removes_their_notes(store: LocalStore, tmp_path: Path) -> None:
    index, _, blobs = one_image([b"layer" * 1000])
    (tmp_path / "archive.tar").write_bytes(tar(layout(index, blobs)))
    await import_images(store, tmp_path / "archive.tar", name="example.com/a:1")
    await store.images.delete("example.com/a:1")
    await store.collect(grace=HOUR)
    assert len(noted(store.path)) > 2

    await import_images(store, tmp_path / "archive.tar", name="example.com/a:1")

    assert {await digest_of(data) for data in (DATA, LARGE)} == noted(store.path)


async def test_reads_keep_the_note(store: LocalStore) -> None:
    digest = await digest_of(DATA)
    await store.get(digest)
    await store.infos([digest])
    assert await store.exists(digest)

    assert {digest, await digest_of(LARGE)} == noted(store.path)
