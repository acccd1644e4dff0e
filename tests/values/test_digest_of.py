"""`digest_of` on every kind of source, on both backends."""

from __future__ import annotations

import array
import gzip
import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest
from support.stalls import runs_of_another_task

from steelyard.digest import Algorithm
from steelyard.errors import InvalidArgument, OutOfRange, UnsupportedAlgorithm
from steelyard.hashing import Hasher, digest_of
from steelyard.model import FileRange, Progress, Source

pytestmark = pytest.mark.anyio

MIB = 1 << 20
SIZES = [0, 1, 65_535, 65_536, 300_000, 9 * MIB + 1]


def expected(data: bytes, algorithm: str = "sha256") -> str:
    hasher = Hasher(algorithm)
    hasher.update(data)
    return str(hasher.digest())


def content(size: int) -> bytes:
    return (b"steelyard" * (size // 9 + 1))[:size]


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def async_chunks(data: bytes, size: int) -> AsyncIterator[memoryview]:
    for start in range(0, len(data), size):
        await anyio.lowlevel.checkpoint()
        yield memoryview(data)[start : start + size]


class OnlyRead:
    """A file with nothing but `read`, which gives less than it was asked for."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        return self._inner.read(min(size, 5000))


SOURCES: dict[str, Callable[[bytes], object]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "array": lambda data: array.array("B", data),
    "BytesIO": io.BytesIO,
    "buffered": lambda data: io.BufferedReader(io.BytesIO(data)),
    "only read": OnlyRead,
    "list": lambda data: list(chunks(data, 100_000)),
    "generator": lambda data: chunks(data, 1000),
    "async": lambda data: async_chunks(data, 70_000),
    "one chunk": lambda data: [data],
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", SOURCES)
async def test_every_kind_of_source_gives_the_digest_of_its_bytes(kind: str, size: int) -> None:
    data = content(size)
    source: Source = SOURCES[kind](data)  # type: ignore[assignment]

    assert expected(data) == str(await digest_of(source))


@pytest.mark.parametrize("size", SIZES)
async def test_a_path_a_text_path_and_an_open_file_agree(tmp_path: Path, size: int) -> None:
    data = content(size)
    path = tmp_path / "data"
    path.write_bytes(data)

    assert expected(data, "blake3") == str(await digest_of(path, algorithm="blake3"))
    assert expected(data, "sha512") == str(await digest_of(str(path), algorithm=Algorithm.SHA512))
    with path.open("rb") as file:
        assert expected(data) == str(await digest_of(file))
        assert size == file.tell()


async def test_an_open_file_is_read_from_where_it_stands_and_left_open() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"skipped" + b"taken" * 100_000)
        file.seek(7)

        assert expected(b"taken" * 100_000) == str(await digest_of(file))
        assert not file.closed


@pytest.mark.parametrize("size", [0, 1, 9 * MIB])
async def test_a_range_is_read_from_its_offset_and_the_file_stays_where_it_is(size: int) -> None:
    data = content(9 * MIB + 20)
    seen: list[Progress] = []
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        file.seek(5)

        found = await digest_of(FileRange(file.fileno(), 10, size), on_progress=seen.append)

        assert expected(data[10 : 10 + size]) == str(found)
        assert 5 == file.tell()
    assert (size, size) == (seen[-1].done, seen[-1].total)


async def test_a_range_past_the_end_of_its_file_is_refused() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"0123456789")
        with pytest.raises(OutOfRange):
            await digest_of(FileRange(file.fileno(), 5, 6))


async def test_a_cancelled_range_raises_the_cancellation() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.truncate(1 << 40)
        with anyio.fail_after(30), anyio.move_on_after(0.05) as scope:
            await digest_of(FileRange(file.fileno(), 0, 1 << 40))

    assert scope.cancelled_caught


async def test_a_compressed_file_is_hashed_as_its_reader_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "data.gz"
    path.write_bytes(gzip.compress(bytes(3 * MIB)))
    seen: list[Progress] = []
    with gzip.open(path) as file:
        digest = await digest_of(file, on_progress=seen.append)

    assert expected(bytes(3 * MIB)) == str(digest)
    assert {None} == {each.total for each in seen}


async def test_a_pipe_is_read_to_its_end() -> None:
    read, write = os.pipe()
    data = content(200_000)

    async def feed() -> None:
        async with await anyio.open_file(write, "wb", buffering=0) as file:
            for chunk in chunks(data, 7000):
                await file.write(chunk)

    with io.FileIO(read) as source:
        async with anyio.create_task_group() as group:
            group.start_soon(feed)
            digest = await digest_of(source)

    assert expected(data) == str(digest)


async def test_progress_rises_to_the_total_and_names_the_source(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(content(20 * MIB))
    seen: list[Progress] = []
    await digest_of(path, on_progress=seen.append)

    told = [each.done for each in seen]
    assert sorted(set(told)) == told
    assert 20 * MIB == told[-1]
    assert {(str(path), 20 * MIB, "hash")} == {(each.name, each.total, each.phase) for each in seen}


@pytest.mark.parametrize("source", [b"", [], b"x"], ids=repr)
async def test_progress_is_reported_at_least_once(source: Source) -> None:
    seen: list[Progress] = []
    await digest_of(source, on_progress=seen.append)

    assert 1 == len(seen)


async def test_many_small_buffers_let_other_tasks_run() -> None:
    runs = await runs_of_another_task(digest_of(chunks(bytes(2 * MIB), 1000)))

    assert runs >= 2 * MIB // 65_536 - 1


async def test_a_cancelled_call_raises_before_it_reads_anything() -> None:
    source = io.BytesIO(b"data")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await digest_of(source)

    assert scope.cancelled_caught
    assert 0 == source.tell()


async def test_a_source_that_fails_raises_its_own_error(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"first"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await digest_of(failing())
    with pytest.raises(FileNotFoundError):
        await digest_of(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        await digest_of(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [5, None, object(), ["text"], [1]],
    ids=["number", "none", "object", "list of text", "list of numbers"],
)
async def test_what_is_no_source_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError):
        await digest_of(wrong)  # type: ignore[arg-type]


async def test_a_text_file_is_no_source() -> None:
    with pytest.raises(TypeError):
        await digest_of(io.StringIO("text"))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [8, 400_000])
async def test_an_ill_shaped_buffer_is_refused_however_large(size: int) -> None:
    for wrong in (
        memoryview(bytes(size))[::2],
        memoryview(bytes(size)).cast("I"),
        memoryview(bytes(size)).cast("B", (2, size // 2)),
    ):
        with pytest.raises(BufferError):
            await digest_of(wrong)


async def test_a_file_that_does_not_block_is_refused() -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    with (
        io.FileIO(read) as source,
        io.FileIO(write, "w"),
        pytest.raises(InvalidArgument, match="non-blocking"),
    ):
        await digest_of(source)


async def test_an_unknown_algorithm_is_refused_before_the_source_is_touched() -> None:
    source = io.BytesIO(b"data")

    with pytest.raises(UnsupportedAlgorithm):
        await digest_of(source, algorithm="md5")
    assert 0 == source.tell()
