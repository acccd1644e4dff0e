"""The convenience methods: put of every kind of source, put_many, get, and copies between stores."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from steelyard.content import Store
from steelyard.digest import Algorithm, Digest
from steelyard.errors import UnexpectedDigest, UnexpectedSize, Unsupported
from steelyard.memory import MemoryStore
from steelyard.model import Progress, PutResult
from steelyard.testing._values import begin, data_of, digest_of, keep
from steelyard.transfer import copy, exists, read_blob, write_blob

SIZES = (0, 1, 65_536, 1_200_001)
KINDS = (
    "bytes",
    "bytearray",
    "memoryview",
    "path",
    "text path",
    "file",
    "buffer file",
    "list",
    "generator",
    "async generator",
)
RESUMABLE = ("bytes", "path", "file", "list", "generator", "async generator")


def source_of(kind: str, data: bytes, folder: Path) -> Any:
    """Return a source of that kind; a file is positioned after a byte that does not belong to the source."""
    path = folder / f"{kind} {len(data)}"
    path.write_bytes(data)
    pieces = [data[start : start + 10_007] for start in range(0, len(data), 10_007)]

    def generator() -> Iterator[bytes]:
        yield from pieces

    async def async_generator() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    match kind:
        case "bytes":
            return data
        case "bytearray":
            return bytearray(data)
        case "memoryview":
            return memoryview(b"x" + data)[1:]
        case "path":
            return path
        case "text path":
            return str(path)
        case "file":
            path.write_bytes(b"x" + data)
            file = path.open("rb")
            file.seek(1)
            return file
        case "buffer file":
            return io.BytesIO(data)
        case "list":
            return pieces
        case "generator":
            return generator()
    return async_generator()


async def write_into(pipe: Path, data: bytes) -> None:
    """Write into a named pipe, as soon as it has a reader."""
    while True:
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            await anyio.sleep(0.001)
            continue
        os.write(descriptor, data)
        os.close(descriptor)
        return


async def close(source: Any) -> None:
    """Close a source that a test opened."""
    if isinstance(source, io.IOBase):
        source.close()
    elif hasattr(source, "aclose"):
        await source.aclose()


@pytest.mark.anyio
class PuttingContract:
    """Store.put, put_many, get, and `steelyard.transfer`."""

    @pytest.mark.parametrize("kind", KINDS)
    async def test_put_stores_every_kind_of_source(self, store: Store, kind: str, tmp_path: Path) -> None:
        for size in SIZES:
            data = data_of(size, kind)
            for new in (True, False):
                source = source_of(kind, data, tmp_path)
                result = await store.put(source, labels={"new": str(new)})
                await close(source)

                assert (digest_of(data), size, new) == (result.digest, result.size, result.new)
            assert data == await store.get(result.digest)
            assert {"new": "True"} == (await store.info(result.digest)).labels
        assert [] == await store.list_statuses()

    @pytest.mark.parametrize("ref", [None, "ref"])
    @pytest.mark.parametrize("call", ["put", "put_many"])
    async def test_a_named_pipe_is_opened_once(self, store: Store, call: str, ref: str | None, tmp_path: Path) -> None:
        """If the call opened the pipe once to inspect it, the writer would find that its reader has gone."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        results: list[PutResult | Exception] = []

        async def read() -> None:
            if call == "put_many":
                results.extend([done.outcome async for done in store.put_many([pipe])])
            else:
                results.append(await store.put(pipe, ref=ref))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await write_into(pipe, b"through the pipe")

        assert [PutResult(digest=digest_of(b"through the pipe"), size=16, new=True)] == results

    @pytest.mark.parametrize("call", ["put", "put_many"])
    async def test_a_put_of_a_named_pipe_without_a_writer_can_be_cancelled(
        self, store: Store, call: str, tmp_path: Path
    ) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with anyio.move_on_after(0.1) as scope:
            if call == "put_many":
                async with aclosing(store.put_many([pipe])) as results:
                    await anext(results)
            else:
                await store.put(pipe)

        assert scope.cancelled_caught
        assert [] == await store.list_statuses()

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("ref", [None, "ref"])
    async def test_a_put_of_something_unexpected_stores_nothing(
        self, store: Store, kind: str, ref: str | None, tmp_path: Path
    ) -> None:
        wrong: tuple[tuple[type[Exception], dict[str, Any]], ...] = (
            (UnexpectedDigest, {"expected": digest_of(b"other")}),
            (UnexpectedSize, {"size": 20_001}),
            (UnexpectedSize, {"size": 19_999}),
        )
        for error, options in wrong:
            source = source_of(kind, data_of(20_000), tmp_path)
            with pytest.raises(error):
                await store.put(source, ref=ref, **options)
            await close(source)
            assert [] == [info async for info in store.walk()]
            if ref is None:
                assert [] == await store.list_statuses()

        source = source_of(kind, data_of(20_000), tmp_path)
        if await exists_ingest(store, "ref"):
            await store.abort("ref")
        assert (await store.put(source, ref=ref, size=20_000, expected=digest_of(data_of(20_000)))).new
        await close(source)

    @pytest.mark.parametrize("kind", RESUMABLE)
    async def test_put_with_a_ref_goes_on_where_an_ingest_stopped(
        self, store: Store, kind: str, tmp_path: Path
    ) -> None:
        data = data_of(100_000)
        await begin(store, "ref", data[:60_000])
        seen: list[Progress] = []
        source = source_of(kind, data, tmp_path)
        result = await store.put(source, ref="ref", on_progress=seen.append)
        await close(source)

        assert (digest_of(data), True) == (result.digest, result.new)
        assert data == await store.get(result.digest)
        assert {"ref"} == {progress.name for progress in seen}
        assert [] == await store.list_statuses()

    @pytest.mark.parametrize("kind", ["bytes", "path", "file", "list"])
    async def test_put_starts_over_when_the_source_is_shorter_than_the_ingest(
        self, store: Store, kind: str, tmp_path: Path
    ) -> None:
        await begin(store, "ref", data_of(100_000))
        source = source_of(kind, b"short", tmp_path)
        result = await store.put(source, ref="ref")
        await close(source)

        assert digest_of(b"short") == result.digest

    @pytest.mark.parametrize("algorithm", Algorithm)
    async def test_put_uses_the_given_algorithm(self, store: Store, algorithm: Algorithm, tmp_path: Path) -> None:
        data = data_of(70_000)
        expected = digest_of(data, algorithm)
        for source in (data, source_of("path", data, tmp_path), [data]):
            assert expected == (await store.put(source, algorithm=algorithm)).digest
            assert expected == (await store.put(source, expected=expected, size=len(data))).digest
        async with store.writer("ref", algorithm=Algorithm.SHA384):
            pass
        assert digest_of(data) == (await store.put(data, ref="ref")).digest
        assert data == await store.get(expected)

    async def test_a_source_that_fails_midway_leaves_bytes_only_under_its_ref(self, store: Store) -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield b"data"
            raise ConnectionError

        for ref in (None, "ref"):
            with pytest.raises(ConnectionError):
                await store.put(failing(), ref=ref)
        with pytest.raises(FileNotFoundError):
            await store.put(Path("/nowhere/at/all"))

        assert [("ref", 4)] == [(status.ref, status.offset) for status in await store.list_statuses()]
        assert [] == [info async for info in store.walk()]

    async def test_a_verified_put_stores_the_source_or_is_refused_before_it_is_read(self, store: Store) -> None:
        """A store that cannot read an ingest again raises Unsupported, and the ingest keeps its bytes."""
        async with store.writer("ref") as writer:
            await writer.write(b"da")
        try:
            result = await store.put([b"da", b"ta"], ref="ref", verify=True)
        except Unsupported:
            assert 2 == (await store.status("ref")).offset
        else:
            assert b"data" == await store.get(result.digest)

    async def test_progress_is_reported_in_order_and_to_the_end(self, store: Store, tmp_path: Path) -> None:
        data = data_of(3_000_000)
        seen: list[Progress] = []
        await store.put(source_of("path", data, tmp_path), on_progress=seen.append)

        assert seen
        assert sorted(progress.done for progress in seen if progress.phase == "write") == [
            progress.done for progress in seen if progress.phase == "write"
        ]
        assert len(data) == seen[-1].done
        assert {len(data)} == {progress.total for progress in seen}

    async def test_put_many_stores_all_and_reports_new_blobs(self, store: Store, tmp_path: Path) -> None:
        sources: list[Any] = [b"%d" % (number % 40) for number in range(50)]
        sources += [source_of("path", data_of(100_000), tmp_path), tmp_path / "missing", [b"a", b"b"]]
        labels = {"a": "b"}
        results = [result async for result in store.put_many(sources, concurrency=4, labels=labels, errors="yield")]

        assert list(range(53)) == sorted(result.index for result in results)
        assert [51] == [result.index for result in results if result.error is not None]
        new = {result.result.digest for result in results if result.error is None and result.result.new}
        assert 42 == len(new)
        assert new == {info.digest async for info in store.walk("labels.a==b")}
        assert [] == await store.list_statuses()

    async def test_put_many_raises_the_errors_of_failed_sources_at_its_end(self, store: Store) -> None:
        missing = "/nowhere/at/all"
        sources: list[Any] = [*([missing] * 120), *(b"%d" % number for number in range(40))]
        stored: list[Digest] = []

        async def store_all() -> None:
            async for done in store.put_many(sources):
                assert done.error is None
                stored.append(done.result.digest)

        with pytest.raises(ExceptionGroup, match="put_many: 120 of 160 sources failed; the first 100") as caught:
            await store_all()

        assert {digest_of(b"%d" % number) for number in range(40)} == set(stored)
        assert 100 == len(caught.value.exceptions)
        for error in caught.value.exceptions:
            assert isinstance(error, FileNotFoundError)
            assert missing in error.__notes__[-1]

    async def test_put_many_left_early_leaves_no_ingest_and_no_lock(self, store: Store) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                await anyio.lowlevel.checkpoint()
                yield b"endless"

        mixed: list[Any] = [b"first", *(endless() for _ in range(3))]
        async with aclosing(store.put_many(mixed)) as results:
            await anext(results)
        for source in mixed[1:]:
            await source.aclose()

        assert [] == await store.list_statuses()

    async def test_the_functions_on_whole_blobs_work_on_this_store(self, store: Store) -> None:
        data = data_of(100_000)
        digest = digest_of(data)
        assert not await exists(store, digest)
        assert (await write_blob(store, [data], digest, ref="ref")).new
        again = await write_blob(store, [b"never read"], digest, ref="ref")
        assert (digest, len(data), False) == (again.digest, again.size, again.new)
        assert await exists(store, digest)
        assert data == await read_blob(store, digest)

    @pytest.mark.parametrize("direction", ["out", "in"])
    @pytest.mark.parametrize("kept", [0, 60_000, 2_500_000])
    async def test_copy_goes_on_where_it_stopped_in_both_directions(
        self, store: Store, direction: str, kept: int
    ) -> None:
        data = data_of(2_500_000)
        source, target = (store, MemoryStore()) if direction == "out" else (MemoryStore(), store)
        digest = await keep(source, data)
        await begin(target, "ref", data[:kept])
        seen: list[Progress] = []
        first = await copy(source, digest, target, ref="ref", on_progress=seen.append)
        second = await copy(source, digest, target)

        assert (True, False) == (first.new, second.new)
        assert kept == seen[0].done
        assert data == await target.get(digest)
        assert [] == await target.list_statuses()


async def exists_ingest(store: Store, ref: str) -> bool:
    """Return whether an ingest with that ref exists."""
    return ref in {status.ref for status in await store.list_statuses()}
