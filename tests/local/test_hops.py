"""The budget of thread hops of each call of a `LocalStore`. The gate of `benches/` counts the system calls of the same work."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from steelyard import LocalStore, digest_of, open_writer
from steelyard._runtime import calls

pytestmark = pytest.mark.anyio

DATA = bytes(range(200)) * 10


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    async with LocalStore(tmp_path / "store", durability="process-crash") as store:
        yield store


@contextmanager
def budget(hops: int) -> Iterator[None]:
    before = calls.counts()["hops"]
    yield
    assert calls.counts()["hops"] - before == hops


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"size": len(DATA), "expected": f"sha256:{hashlib.sha256(DATA).hexdigest()}", "labels": {"a": "b"}},
        {"expected": f"sha512:{hashlib.sha512(DATA).hexdigest()}"},
        {"verify": True},
    ],
)
@pytest.mark.parametrize("waits", [False, True])
async def test_a_writer_takes_a_hop_to_open_and_one_to_commit(
    store: LocalStore, arguments: dict[str, Any], waits: bool
) -> None:
    opening = open_writer(store, "ref") if waits else store.writer("ref")
    with budget(2):
        with budget(1):
            writer = await opening.__aenter__()
        with budget(0):
            await writer.write(DATA[:1000])
            await writer.write(memoryview(DATA)[1000:])
        with budget(1):
            info = await writer.commit(**arguments)
        with budget(0):
            await opening.__aexit__(None, None, None)

    assert await store.get(info.digest) == DATA


async def test_a_commit_among_other_writers_takes_one_hop(store: LocalStore) -> None:
    """It waits, without a thread, until its bytes are written together with those of others."""
    data = DATA * 100
    async with store.writer("other") as other, store.writer("ref") as writer:
        await other.write(data)
        await writer.write(data)
        assert writer._native.when_written(int) is not int
        with budget(1):
            info = await writer.commit()

    assert await store.get(info.digest) == data


async def test_other_calls_of_a_writer_take_a_hop_each(store: LocalStore) -> None:
    async with store.writer("ref") as writer:
        await writer.write(DATA)
        with budget(1):
            assert await writer.digest() == await digest_of(DATA)
        with budget(1):
            await writer.sync()
        with budget(1):
            await writer.truncate(10)
        with budget(1):
            await writer.status()


async def test_a_put_takes_one_hop_and_one_through_an_ingest_two(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"file")
    with budget(1):
        await store.put(b"bytes")
    with budget(1):
        await store.put(tmp_path / "file")
    with budget(2):
        await store.put([b"pieces", b"of an iterable"])
    with budget(2):
        await store.put(b"under a ref", ref="ref")


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_put_of_many_takes_a_hop_for_each_batch(store: LocalStore, is_async: bool) -> None:
    blobs = [b"%d" % number for number in range(600)]

    async def sources() -> AsyncIterator[bytes]:
        for blob in blobs:
            yield blob

    with budget(3):
        async with aclosing(store.put_many(sources() if is_async else blobs)) as results:
            assert len([result async for result in results]) == 600


class SlowHash:
    """The native ingest, whose hash never catches up. It says when it has begun."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self.begun = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def catch_up(self, most: int) -> int:
        self.begun.set()
        return most


@pytest.mark.parametrize("operation", ["commit", "digest", "sync"])
async def test_a_hop_that_hashes_what_is_left_can_be_cancelled(store: LocalStore, operation: str) -> None:
    """A commit that is cancelled before its publication publishes nothing, and the ingest keeps its bytes."""
    async with store.writer("ref") as writer:
        await writer.write(DATA)
        slow = writer._ingest.native = SlowHash(writer._ingest.native)  # type: ignore[assignment]

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(getattr(writer, operation))
                while not slow.begun.is_set():
                    await checkpoint()
                tasks.cancel_scope.cancel()

        assert not await store.exists(await digest_of(DATA))
        assert (await store.status("ref")).offset == len(DATA)
        if operation != "commit":
            writer._ingest.native = writer._native
            assert (await writer.commit()).digest == await digest_of(DATA)
