"""The budget of thread hops of each call of a `LocalStore`, as `docs/architecture.md` has it.

The gate of `benches/` counts the system calls of the same work.
"""

from __future__ import annotations

import hashlib
import re
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
from steelyard.local import many
from steelyard.transfer import _batched as put_batches

pytestmark = pytest.mark.anyio

DATA = bytes(range(200)) * 10

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
BUDGETS = dict(re.findall(r"^\| (.+?) \| (\d+(?: for each batch of up to \d+ \w+)?) \|$", PAGE, re.MULTILINE))
PUT = int(BUDGETS["`put` of up to 8 MiB; puts at the same time share hops"])
PUT_INGEST = int(BUDGETS["`put` of an iterable, or under a ref"])
OPEN = int(BUDGETS["`writer`"])
WRITE = int(BUDGETS["a `write` that fits into the write buffer"])
OTHER_CALL = int(BUDGETS["`digest`, `sync`, `truncate` or `status` of a writer"])
COMMIT = int(BUDGETS["`commit`, with another algorithm or `verify`, too"])
LEAVE = int(BUDGETS["leaving the writer after its `commit`"])


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
        with budget(OPEN):
            writer = await opening.__aenter__()
        with budget(WRITE):
            await writer.write(DATA[:1000])
            await writer.write(memoryview(DATA)[1000:])
        with budget(COMMIT):
            info = await writer.commit(**arguments)
        with budget(LEAVE):
            await opening.__aexit__(None, None, None)

    assert await store.get(info.digest) == DATA


async def test_a_commit_among_other_writers_takes_one_hop(store: LocalStore) -> None:
    """It waits, without a thread, until its bytes are written together with those of others."""
    data = DATA * 100
    async with store.writer("other") as other, store.writer("ref") as writer:
        await other.write(data)
        await writer.write(data)
        assert writer._native.when_written(int) is not int
        with budget(COMMIT):
            info = await writer.commit()

    assert await store.get(info.digest) == data


async def test_other_calls_of_a_writer_take_a_hop_each(store: LocalStore) -> None:
    async with store.writer("ref") as writer:
        await writer.write(DATA)
        with budget(OTHER_CALL):
            assert await writer.digest() == await digest_of(DATA)
        with budget(OTHER_CALL):
            await writer.sync()
        with budget(OTHER_CALL):
            await writer.truncate(10)
        with budget(OTHER_CALL):
            await writer.status()


async def test_a_put_takes_one_hop_and_one_through_an_ingest_two(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"file")
    with budget(PUT):
        await store.put(b"bytes")
    with budget(PUT):
        await store.put(tmp_path / "file")
    with budget(PUT_INGEST):
        await store.put([b"pieces", b"of an iterable"])
    with budget(PUT_INGEST):
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


def test_the_page_gives_the_budgets_of_batches_and_cached_reads() -> None:
    """The tests of `put_many`, `update_many`, `delete_many` and cached reads hold these."""
    assert (
        BUDGETS["`put_many`, an iterable or an async one"] == f"1 for each batch of up to {put_batches.BATCH} sources"
    )
    assert (
        BUDGETS["`update_many`, `delete_many`, an iterable or an async one"]
        == f"1 for each batch of up to {many.BATCH} blobs"
    )
    assert BUDGETS["a read from the page cache"] == "0"


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
