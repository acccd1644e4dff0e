"""Large blobs take one hop: it reports progress, can be cancelled, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from steelyard import Algorithm, Digest, LocalStore, NotFound, Progress, UnexpectedDigest, UnexpectedSize
from steelyard.content import Source

pytestmark = pytest.mark.anyio

MIB = 1 << 20
SIZE = 24 * MIB + 4321


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "source"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(scope="module")
def data(large: Path) -> bytes:
    return large.read_bytes()


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes longer to store than any test lasts; it takes no room on the disk."""
    path = tmp_path_factory.mktemp("endless") / "source"
    with path.open("wb") as file:
        file.truncate(64 << 30)
    return path


def digest_of(data: bytes) -> Digest:
    return Digest(Algorithm.SHA256, hashlib.sha256(data).hexdigest())


async def blobs(store: LocalStore) -> list[Digest]:
    return [info.digest async for info in store.walk()]


async def begun(store: LocalStore, ref: str) -> None:
    """Wait until an ingest holds something."""
    while True:
        try:
            if (await store.status(ref)).offset:
                return
        except NotFound:
            pass
        await anyio.sleep(0.001)


async def test_a_cancelled_put_ends_at_once_and_leaves_nothing(tmp_path: Path, endless: Path) -> None:
    async with LocalStore(tmp_path) as store:
        with anyio.fail_after(30), anyio.move_on_after(0.1) as scope:
            await store.put(endless)

        assert scope.cancelled_caught
        assert [] == await blobs(store)
        assert [] == await store.list_statuses()
        assert (await store.put(b"and works")).new


async def test_a_cancelled_put_with_a_ref_is_gone_on_with(tmp_path: Path, endless: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: store.put(endless, ref="ref"))
            await begun(store, "ref")
            tasks.cancel_scope.cancel()
        async with store.writer("ref") as writer:
            held = writer.offset

            assert held > 0
            assert digest_of(bytes(held)) == await writer.digest()

        ending = tmp_path / "source"
        ending.touch()
        os.truncate(ending, held + MIB)
        seen: list[Progress] = []
        result = await store.put(ending, ref="ref", on_progress=seen.append)

        assert (digest_of(bytes(held + MIB)), held + MIB, True) == (result.digest, result.size, result.new)
        assert held <= seen[0].done
        assert [] == await store.list_statuses()


def test_a_put_that_asyncio_itself_cancels_leaves_nothing(tmp_path: Path, endless: Path) -> None:
    async def main() -> None:
        async with LocalStore(tmp_path) as store:
            task = asyncio.create_task(store.put(endless))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert [] == await blobs(store)

    asyncio.run(main())


async def test_a_cancelled_verification_and_reads_end_at_once(tmp_path: Path, large: Path, data: bytes) -> None:
    async with LocalStore(tmp_path) as store:
        digest = (await store.put(large)).digest
        async with store.reader_at(digest) as reader:
            memory = bytearray(SIZE)

            async def read_stream() -> None:
                async with reader.stream() as stream:
                    while True:
                        await stream.receive()

            works: list[Callable[[], Awaitable[object]]] = [
                lambda: store.verify(digest),
                lambda: store.get(digest),
                lambda: reader.read_at(0, SIZE),
                lambda: reader.readinto_at(0, memory),
                read_stream,
            ]
            for work in works:
                for delay in (0, 0.0005, 0.003):
                    with anyio.move_on_after(delay):
                        await work()
                    await anyio.lowlevel.checkpoint()

            assert SIZE == await reader.readinto_at(0, memory)
        assert memory == await store.get(digest) == data


async def test_progress_of_a_large_file_rises_through_its_phases(tmp_path: Path, large: Path) -> None:
    async with LocalStore(tmp_path) as store:
        for expected in (["write", "commit"], ["hash", "commit"]):
            seen: list[Progress] = []
            await store.put(large, on_progress=seen.append)

            assert expected == list(dict.fromkeys(progress.phase for progress in seen))
            for phase in expected:
                done = [progress.done for progress in seen if progress.phase == phase]
                assert sorted(done) == done
            assert {(str(large), SIZE)} == {(progress.name, progress.total) for progress in seen}
            assert SIZE == seen[-1].done


@pytest.mark.parametrize("ref", [None, "ref"])
async def test_a_progress_callback_that_fails_ends_the_put(tmp_path: Path, endless: Path, ref: str | None) -> None:
    def fail(progress: Progress) -> None:
        if progress.done:
            raise ZeroDivisionError

    async with LocalStore(tmp_path) as store:
        with pytest.raises(ZeroDivisionError):
            await store.put(endless, ref=ref, on_progress=fail)

        assert [] == await blobs(store)


@pytest.mark.parametrize("ref", [None, "ref"])
async def test_an_open_file_is_stored_from_where_it_stands_and_left_at_its_end(
    tmp_path: Path, large: Path, data: bytes, ref: str | None
) -> None:
    async with LocalStore(tmp_path) as store:
        for start, buffering in ((0, 0), (5, -1), (MIB, 0), (SIZE - 1, -1), (SIZE, 0)):
            with large.open("rb", buffering=buffering) as file:
                assert data[:start] == file.read(start)
                result = await store.put(file, ref=ref)

                assert (digest_of(data[start:]), SIZE - start) == (result.digest, result.size)
                assert SIZE == file.tell()
                assert b"" == file.read()
                file.seek(1)
                assert data[1:3] == file.read(2)


async def test_a_file_with_unwritten_changes_and_a_decompressor_give_their_own_bytes(tmp_path: Path) -> None:
    import gzip  # noqa: PLC0415

    data = os.urandom(9 * MIB)
    async with LocalStore(tmp_path / "store") as store:
        with (tmp_path / "changing").open("w+b") as file:
            file.write(data)
            file.seek(0)
            file.write(b"changed")  # it may still be in the buffer
            file.seek(3)

            assert digest_of(b"changed"[3:] + data[7:]) == (await store.put(file)).digest

        (tmp_path / "packed").write_bytes(gzip.compress(data, 0))
        with gzip.open(tmp_path / "packed") as packed, io.BufferedReader(packed) as buffered:
            assert digest_of(data) == (await store.put(buffered)).digest


@pytest.mark.parametrize("ref", [None, "ref"])
@pytest.mark.parametrize("kind", ["path", "file"])
async def test_a_file_that_is_not_what_was_announced_is_refused(
    tmp_path: Path, large: Path, data: bytes, ref: str | None, kind: str
) -> None:
    async with LocalStore(tmp_path) as store:
        with large.open("rb") as file:

            def source() -> Source:
                file.seek(0)
                return large if kind == "path" else file

            for size in (SIZE - 1, SIZE + 1):
                with pytest.raises(UnexpectedSize):
                    await store.put(source(), size=size, ref=ref)
            with pytest.raises(UnexpectedDigest):
                await store.put(source(), expected=digest_of(b"else"), ref=ref)
            assert [] == await blobs(store)

            assert (await store.put(source(), size=SIZE, expected=digest_of(data), ref=ref)).new


async def test_files_of_one_size_are_distinguished(tmp_path: Path) -> None:
    """Files that agree where they are compared first are still different blobs."""
    base = bytearray(os.urandom(9 * MIB))
    paths = []
    for number in range(6):
        base[2 * MIB + number] ^= 255
        paths.append(tmp_path / f"source {number}")
        paths[-1].write_bytes(base)
    async with LocalStore(tmp_path / "store") as store:
        first = [await store.put(path) for path in paths]
        again = [await store.put(path, ref="ref") for path in paths]

        assert [digest_of(path.read_bytes()) for path in paths] == [result.digest for result in first]
        assert [True] * 6 == [result.new for result in first]
        assert [False] * 6 == [result.new for result in again]


async def test_many_blobs_are_verified_side_by_side_and_each_for_itself(tmp_path: Path, large: Path) -> None:
    async with LocalStore(tmp_path) as store:
        stored = [(await store.put(os.urandom(size))).digest for size in range(0, 90_000, 1000)]
        stored.append((await store.put(large, algorithm=Algorithm.BLAKE3)).digest)
        damaged, cut = stored[17], stored[33]
        for digest, data in ((damaged, b"x" * 17_000), (cut, b"")):
            path = tmp_path / "blobs" / digest.algorithm / digest.encoded
            path.chmod(0o644)
            path.write_bytes(data)
        seen: list[Progress] = []
        found = {checked.digest: checked.error async for checked in store.verify_all(on_progress=seen.append)}

        assert set(stored) == set(found)
        assert {damaged, cut} == {digest for digest, error in found.items() if error is not None}
        assert {str(digest) for digest in stored} == {progress.name for progress in seen}
        assert 2 == (await store.stats()).quarantined
        assert set(stored) - {damaged, cut} == {checked.digest async for checked in store.verify_all()}


def _threads() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:  # it has just ended
            continue
    return [name for name in names if name.startswith("steelyard")]


def test_no_thread_outlives_the_last_store_for_long(tmp_path: Path, large: Path) -> None:
    async def main() -> None:
        async with LocalStore(tmp_path) as store:
            await store.put(large)
            await store.put(large, ref="ref", algorithm=Algorithm.SHA512)

    anyio.run(main)
    deadline = time.monotonic() + 30
    while _threads() and time.monotonic() < deadline:
        time.sleep(0.02)

    assert [] == _threads()


def test_a_child_of_a_fork_hashes_on_threads_of_its_own(tmp_path: Path, large: Path) -> None:
    async def main(root: Path) -> Digest:
        async with LocalStore(root) as store:
            return (await store.put(large)).digest

    expected = anyio.run(main, tmp_path / "parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(anyio.run(main, tmp_path / "child") != expected)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert 0 == os.waitstatus_to_exitcode(status)


def test_a_child_of_a_fork_lets_go_of_an_ingest_with_a_checkpoint_under_way(tmp_path: Path) -> None:
    """It has not got the thread that makes the checkpoint, and must not wait for it when its copy is collected."""

    async def main() -> int:
        async with LocalStore(tmp_path) as store:
            writer = await store.writer("ref")
            await writer.write(bytes(65 * MIB))  # a checkpoint begins after 64
            child = os.fork()
            if child == 0:
                signal.alarm(60)  # should it hang
                del writer._ingest  # as at the end of an interpreter
                os._exit(0)
            await writer.commit()
            return child

    _, status = os.waitpid(anyio.run(main), 0)

    assert 0 == os.waitstatus_to_exitcode(status)
