"""The yardsticks do the work that they are named for, and release the GIL meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Literal

import pytest

from steelyard_bench import _yardsticks

SIZE = (3 << 20) + 17


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("threads", [1, 3])
def test_hashing_gives_the_digest_of_every_stream(threads: int) -> None:
    data = os.urandom(1000)

    found = _yardsticks.hash_streams(data, algorithm="sha256", size=400, step=200, threads=threads)

    assert [_sha256(data[start : start + 400]) for start in (0, 200, 400, 600)] == found


@pytest.mark.parametrize("durable", [True, False])
def test_a_large_file_arrives_whole_under_its_first_digest(source: Path, folder: Path, durable: bool) -> None:
    data = source.read_bytes()

    found = _yardsticks.ingest(source, folder, algorithms=["sha256", "sha512"], durable=durable)

    assert [_sha256(data), hashlib.sha512(data).hexdigest()] == found
    assert {found[0]: data} == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("durable", [True, False])
def test_many_files_arrive_whole(tmp_path: Path, folder: Path, durable: bool) -> None:
    data = [os.urandom(size) for size in (0, 1, 5000)]
    sources = [tmp_path / str(number) for number in range(len(data))]
    for path, content in zip(sources, data, strict=True):
        path.write_bytes(content)

    found = _yardsticks.ingest_each(sources, folder, algorithm="sha256", threads=2, durable=durable)

    assert list(map(_sha256, data)) == found
    assert dict(zip(found, data, strict=True)) == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_verifying_gives_the_digest_of_what_is_in_the_file(source: Path) -> None:
    expected = _sha256(source.read_bytes())

    assert expected == _yardsticks.verify(source, algorithm="sha256")
    assert [expected] * 3 == _yardsticks.verify_each([source] * 3, algorithm="sha256", threads=2)


def test_reading_fills_the_callers_memory(source: Path) -> None:
    buffer = bytearray(SIZE + 1)

    assert SIZE == _yardsticks.read(source, buffer, most=1 << 20)
    assert source.read_bytes() + b"\0" == buffer


@pytest.mark.parametrize("flush", ["batch", "each", "none"])
def test_small_blobs_arrive_whole_however_they_are_flushed(
    folder: Path, flush: Literal["batch", "each", "none"]
) -> None:
    data = os.urandom(50 * 64)

    seconds = _yardsticks.small(data, folder, size=64, threads=2, flush=flush, hashed=True)

    blobs = [data[start : start + 64] for start in range(0, len(data), 64)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {_sha256(blob): blob for blob in blobs} == {path.name: path.read_bytes() for path in files}
    assert seconds > 0


def test_what_cannot_be_done_is_an_error_of_the_system(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _yardsticks.verify(tmp_path / "missing", algorithm="sha256")
    with pytest.raises(FileNotFoundError):
        _yardsticks.ingest(tmp_path / "missing", folder, algorithms=["sha256"], durable=True)
    with pytest.raises(OSError, match="md5"):
        _yardsticks.hash_streams(b"", algorithm="md5", size=1, step=1, threads=1)


def test_other_threads_run_while_a_yardstick_works() -> None:
    """Were the GIL held, the counter would stand still: the switch interval cannot interrupt native code."""
    data = bytes(256 << 20)  # a tenth of a second of work: on a busy machine the other thread has to get its turn, too
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        before = counted[0]
        _yardsticks.hash_streams(data, algorithm="sha256", size=len(data), step=len(data), threads=1)
        after = counted[0]
    finally:
        stop.set()
        counter.join()

    assert after > before + 100
