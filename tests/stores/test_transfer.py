"""Functions that use the interfaces only: resume, comparison, verification of both ends."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import pytest

from steelyard.content import Writer, opening
from steelyard.digest import Algorithm, Digest
from steelyard.errors import (
    AlreadyExists,
    DataCorrupt,
    NotFound,
    SteelyardError,
    Unavailable,
    UnexpectedDigest,
    UnexpectedSize,
    Unreachable,
)
from steelyard.memory import MemoryStore
from steelyard.model import Descriptor, Progress, PutResult, Source
from steelyard.transfer import copy, exists, put, read_blob, write_blob

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 9000
"""More than two pieces, and not a multiple of one."""
DIGEST = Digest.parse(f"sha256:{sha256(DATA).hexdigest()}")


async def begun(store: MemoryStore, ref: str, data: bytes) -> None:
    async with store.writer(ref) as writer:
        await writer.write(data)


def generated(data: bytes, size: int = 100_000) -> Iterator[bytes]:
    for offset in range(0, len(data), size):
        yield data[offset : offset + size]


async def agenerated(data: bytes) -> AsyncIterator[bytes]:
    for piece in generated(data):
        yield piece


def piped(data: bytes) -> io.BufferedReader:
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb") as file:  # noqa: PTH123
            file.write(data)

    threading.Thread(target=feed, name="steelyard-feeder").start()
    return open(reading, "rb")  # noqa: PTH123


def quiet_pipe() -> tuple[BinaryIO, BinaryIO]:
    reading, writing = os.pipe()
    return open(reading, "rb"), open(writing, "wb")  # noqa: PTH123


def source_of(kind: str, data: bytes, folder: Path) -> Any:
    if kind in {"path", "file"}:
        path = folder / "source"
        path.write_bytes(data)
        return path if kind == "path" else path.open("rb")
    kinds = {"bytes": lambda d: d, "list": lambda d: list(generated(d)), "pipe": piped}
    return (kinds | {"generator": generated, "async generator": agenerated})[kind](data)


SEEKABLE = ["bytes", "path", "file"]
OTHERS = ["list", "generator", "async generator", "pipe"]


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = source_of(request.param, DATA, tmp_path)
    yield made
    if isinstance(made, io.IOBase):
        made.close()


@pytest.mark.parametrize("source", SEEKABLE + OTHERS, indirect=True)
async def test_put_goes_on_after_the_bytes_that_the_ingest_holds(source: Source) -> None:
    store = MemoryStore()
    await begun(store, "ref", DATA[:1_234_567])
    seen: list[Progress] = []

    result = await put(store, source, ref="ref", on_progress=seen.append)

    assert (DIGEST, len(DATA), True) == (result.digest, result.size, result.new)
    assert 1_234_567 == seen[0].done
    assert DATA == await store.get(DIGEST)


@pytest.mark.parametrize("held", [DATA + b"more", b"x" + DATA[1:1_000_000]])
@pytest.mark.parametrize("source", ["list"], indirect=True)
async def test_put_drops_an_ingest_that_a_list_does_not_begin_with(source: Source, held: bytes) -> None:
    store = MemoryStore()
    await begun(store, "ref", held)

    assert DIGEST == (await put(store, source, ref="ref")).digest


@pytest.mark.parametrize("source", SEEKABLE, indirect=True)
async def test_put_starts_over_when_the_source_is_shorter_than_the_ingest(source: Source) -> None:
    store = MemoryStore()
    await begun(store, "ref", DATA + b"more")

    assert DIGEST == (await put(store, source, ref="ref")).digest


@pytest.mark.parametrize("held", [DATA + b"more", b"x" + DATA[1:1_000_000]])
@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_put_refuses_a_read_once_source_that_is_not_the_ingests(kind: str, held: bytes, tmp_path: Path) -> None:
    store = MemoryStore()
    await begun(store, "ref", held)

    source = source_of(kind, DATA, tmp_path)
    with pytest.raises(UnexpectedDigest):
        await put(store, source, ref="ref")
    if kind == "async generator":
        await source.aclose()

    assert 0 == (await store.status("ref")).offset
    assert DIGEST == (await put(store, source_of(kind, DATA, tmp_path), ref="ref")).digest


@pytest.mark.parametrize("source", SEEKABLE, indirect=True)
async def test_a_wrong_ingest_does_not_stand_in_the_way_of_a_right_source(source: Source) -> None:
    store = MemoryStore()
    await begun(store, "ref", b"wrong" * 1000)

    assert (await put(store, source, ref="ref", expected=DIGEST, size=len(DATA))).new
    assert [] == await store.list_statuses()


@pytest.mark.parametrize("source", SEEKABLE + OTHERS, indirect=True)
async def test_a_failed_put_without_a_ref_leaves_nothing(source: Source) -> None:
    store = MemoryStore()

    with pytest.raises(UnexpectedDigest):
        await put(store, source, expected="sha256:" + "0" * 64)

    assert [] == await store.list_statuses()


async def test_a_put_that_ends_early_keeps_what_it_had_under_its_ref() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield DATA[:1000]
        raise ConnectionError

    store = MemoryStore()
    with pytest.raises(ConnectionError):
        await put(store, failing(), ref="ref")
    with pytest.raises(ConnectionError):
        await put(store, failing())

    assert [("ref", 1000)] == [(status.ref, status.offset) for status in await store.list_statuses()]


async def test_put_stops_reading_a_source_that_is_longer_than_its_size() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)

    source = endless()
    with pytest.raises(UnexpectedSize, match="expected 5000 bytes"):
        await put(MemoryStore(), source, size=5000)
    await source.aclose()  # type: ignore[attr-defined]


async def test_put_does_not_read_a_source_that_is_stored() -> None:
    store = MemoryStore()
    await store.put(DATA)

    result = await put(store, generated(b"never read"), expected=DIGEST)

    assert (DIGEST, len(DATA), False) == (result.digest, result.size, result.new)


async def test_a_file_is_read_from_where_it_stands_and_stays_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"head" + DATA)
    with (tmp_path / "file").open("rb") as file:
        file.seek(4)
        assert DIGEST == (await put(MemoryStore(), file)).digest
        assert not file.closed


async def test_waiting_for_a_quiet_pipe_can_be_cancelled() -> None:
    quiet, writing = quiet_pipe()
    with quiet, writing, anyio.move_on_after(0.05) as scope:
        await put(MemoryStore(), quiet)

    assert scope.cancelled_caught


@pytest.mark.parametrize("wrong", [42, None, object(), io.StringIO("text"), [1, 2], ["text"], memoryview(DATA)[::2]])
async def test_what_is_no_source_is_refused_and_leaves_nothing(wrong: Any) -> None:
    store = MemoryStore()
    with pytest.raises((TypeError, BufferError)):
        await put(store, wrong)

    assert [] == await store.list_statuses()


async def test_write_blob_says_whether_it_stored_the_blob() -> None:
    store = MemoryStore()

    size = len(DATA)
    first = await write_blob(store, DATA, Descriptor(digest=DIGEST, size=size), labels={"a": "b"}, ref="ref")
    assert PutResult(digest=DIGEST, size=size, new=True) == first
    for blob in (DIGEST, Descriptor(digest=DIGEST, size=size)):
        assert PutResult(digest=DIGEST, size=size, new=False) == await write_blob(store, b"never read", blob)
    assert {"a": "b"} == (await store.info(DIGEST)).labels
    with pytest.raises(UnexpectedDigest):
        await write_blob(store, b"wrong", "sha256:" + "0" * 64, ref="ref")


async def test_write_blob_waits_for_a_held_ref() -> None:
    store = MemoryStore()
    async with anyio.create_task_group() as tasks, store.writer("ref") as held:
        tasks.start_soon(partial(write_blob, store, DATA, DIGEST, ref="ref"))
        await anyio.wait_all_tasks_blocked()
        await held.write(DATA[:100])

    assert await exists(store, DIGEST)


async def test_exists_tells_a_stored_blob_from_a_missing_one() -> None:
    store = MemoryStore()
    assert not await exists(store, DIGEST)
    await store.put(DATA)

    assert await exists(store, str(DIGEST))


async def test_read_blob_never_returns_damaged_bytes() -> None:
    store = MemoryStore()
    await store.put(DATA)
    for damaged in (DATA[:-1], DATA + b"x", b"x" + DATA[1:]):
        store._blobs[DIGEST].data = damaged
        with pytest.raises(DataCorrupt):
            await read_blob(store, DIGEST)


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_copy_stores_the_blob_under_the_same_name(algorithm: Algorithm) -> None:
    source, target = MemoryStore(), MemoryStore()
    digest = (await source.put(DATA, algorithm=algorithm)).digest
    seen: list[Progress] = []

    first = await copy(source, digest, target, labels={"a": "b"}, on_progress=seen.append)
    second = await copy(source, digest, target)

    assert (True, False) == (first.new, second.new)
    assert DATA == await target.get(digest)
    assert {"a": "b"} == (await target.info(digest)).labels
    assert [] == await target.list_statuses()
    assert (len(DATA), len(DATA), "commit") == (seen[-1].done, seen[-1].total, seen[-1].phase)


@pytest.mark.parametrize("kind", ["copy", "write_blob"])
async def test_a_wait_for_another_writer_is_progress(kind: str) -> None:
    source, target = MemoryStore(), MemoryStore()
    await source.put(DATA)
    holder = await target.writer("ref")
    seen: list[Progress] = []

    async def end() -> None:
        await waits.wait()
        await holder.aclose()

    def take(report: Progress) -> None:
        seen.append(report)
        waits.set()

    waits = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        if kind == "copy":
            await copy(source, DIGEST, target, ref="ref", on_progress=take)
        else:
            await write_blob(target, DATA, DIGEST, ref="ref", on_progress=take)

    assert [("wait", 0)] == [(each.phase, each.done) for each in seen][:1]
    assert 1 == sum(each.phase == "wait" for each in seen)


async def test_copy_goes_on_where_an_earlier_one_stopped() -> None:
    source, target = MemoryStore(), MemoryStore()
    await source.put(DATA)
    await begun(target, "ref", DATA[:2_000_000])
    seen: list[Progress] = []

    await copy(source, DIGEST, target, ref="ref", on_progress=seen.append)

    assert 2_000_000 == seen[0].done
    assert DATA == await target.get(DIGEST)


@pytest.mark.parametrize("held", [b"x" * 1000, DATA + b"x"])
async def test_copy_starts_over_when_the_target_holds_something_else(held: bytes) -> None:
    source, target = MemoryStore(), MemoryStore()
    await source.put(DATA)
    await begun(target, "ref", held)

    assert (await copy(source, DIGEST, target, ref="ref")).new
    assert DATA == await target.get(DIGEST)


@pytest.mark.parametrize("damaged", [DATA[:-1] + b"x", DATA[:-1], DATA + b"x"])
@pytest.mark.parametrize("kept", [0, 1000])
async def test_copy_of_a_damaged_blob_names_it_and_leaves_nothing_of_it(damaged: bytes, kept: int) -> None:
    source, target = MemoryStore(), MemoryStore()
    await source.put(DATA)
    source._blobs[DIGEST].data = damaged
    await begun(target, "ref", DATA[:kept])

    with pytest.raises(DataCorrupt, match=str(DIGEST)):
        await copy(source, DIGEST, target, ref="ref")

    assert 0 == (await target.status("ref")).offset
    assert not await target.exists(DIGEST)


@pytest.mark.parametrize("gone", [Unavailable("ref"), Unreachable("unix:///gone", reason="no answer")])
async def test_copy_names_the_damage_also_if_the_target_is_gone_by_then(gone: SteelyardError) -> None:
    class Leaving(MemoryStore):
        left = False

        @opening
        async def writer(self, ref: str, **announced: Any) -> Writer:
            if self.left:
                raise gone
            self.left = True
            return await super().writer(ref, **announced)

    source = MemoryStore()
    await source.put(DATA)
    source._blobs[DIGEST].data = DATA[:-1] + b"x"

    with pytest.raises(DataCorrupt, match=str(DIGEST)):
        await copy(source, DIGEST, Leaving(), ref="ref")


async def test_copy_of_a_missing_blob_begins_nothing() -> None:
    target = MemoryStore()
    with pytest.raises(NotFound):
        await copy(MemoryStore(), DIGEST, target)

    assert [] == await target.list_statuses()


async def test_copies_of_one_blob_at_once_store_it_once() -> None:
    source, target = MemoryStore(), MemoryStore()
    await source.put(DATA)
    new: list[bool] = []

    async def run() -> None:
        new.append((await copy(source, DIGEST, target)).new)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(run)

    assert [False] * 4 + [True] == sorted(new)


async def test_an_ingest_that_another_writer_completed_is_success() -> None:
    store = MemoryStore()
    async with store.writer("other") as writer:
        await writer.write(DATA)
        assert (await put(store, DATA, ref="ref")).new
        with pytest.raises(AlreadyExists):
            await writer.commit()

    assert not (await put(store, DATA, ref="ref")).new
