"""Event loops: those of asyncio with coroutines, and trio, which fsspec does not know."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import fsspec
import pytest

from steelyard import LocalStore
from steelyard.errors import FailedPrecondition, Unsupported
from steelyard.fs import SteelyardFileSystem

LARGE = bytes(range(256)) * (12 << 12)


def in_asyncio(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    anyio.run(function, backend="asyncio")


def test_coroutines_run_in_the_loop_of_the_program(tmp_path: Path) -> None:
    async def main() -> None:
        files = fsspec.filesystem("steelyard", store=tmp_path / "store", asynchronous=True)
        await files._pipe_file("a", b"1")
        assert b"1" == await files._cat_file("a")
        assert ["a"] == await files._ls("", detail=False)
        assert ["a"] == [path async for _, _, names in files._walk("") for path in names]
        async with await files.open_async("b", "wb") as file:
            await file.write(LARGE)
            await file.write(b"end")
            assert not await files._exists("b")
        assert len(LARGE) + 3 == file.result.size
        async with await files.open_async("b") as file:
            file.seek(len(LARGE))
            assert b"end" == await file.read()
            assert len(LARGE) + 3 == file.size

        async def fail() -> None:
            async with await files.open_async("b", "wb") as file:
                await file.write(LARGE)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        with pytest.raises(FileExistsError):
            await files.open_async("b", "xb")
        assert LARGE + b"end" == await files._cat_file("b")
        for options in ({"mode": "r"}, {"mode": "rb", "compression": "gzip"}, {"mode": "ab"}):
            with pytest.raises(NotImplementedError):
                await files.open_async("b", **options)
        with pytest.raises(NotImplementedError, match="open_async"):
            files.open("b")
        await files.aclose()
        await files.aclose()

    in_asyncio(main)


def test_a_cancelled_write_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        store = LocalStore(tmp_path / "store")
        async with store:
            files = SteelyardFileSystem(store, asynchronous=True)
            for step in range(30):

                async def write() -> None:
                    async with await files.open_async("a", "wb") as file:
                        await file.write(LARGE)

                task = asyncio.create_task(write())
                for _ in range(step):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert ([], []) == (await store.list_statuses(), await store.leases.list())

    in_asyncio(main)


def test_each_run_of_a_loop_opens_the_store_again(tmp_path: Path) -> None:
    async def main() -> None:
        files = fsspec.filesystem("steelyard", store=tmp_path / "store", asynchronous=True)
        await files._pipe_file("a", b"1")
        seen.append(files)
        # It is not closed.

    seen: list[SteelyardFileSystem] = []
    in_asyncio(main)
    in_asyncio(main)

    assert seen[0] is seen[1]
    in_asyncio(seen[0].aclose)


def test_two_running_loops_do_not_share_one(tmp_path: Path) -> None:
    async def main() -> None:
        files = SteelyardFileSystem(tmp_path / "store", asynchronous=True)
        await files._pipe_file("a", b"1")

        async def other() -> None:
            with pytest.raises(FailedPrecondition, match="another event loop"):
                await files._cat_file("a")

        await asyncio.to_thread(asyncio.run, other())
        await files.aclose()
        files.clear_instance_cache()

    in_asyncio(main)


def test_trio_is_refused(tmp_path: Path) -> None:
    files = SteelyardFileSystem(tmp_path / "store", asynchronous=True)

    async def main() -> None:
        with pytest.raises(Unsupported, match="trio"):
            await files._cat_file("a")

    anyio.run(main, backend="trio")


def test_a_thread_of_a_program_on_trio_may_block(tmp_path: Path) -> None:
    files = SteelyardFileSystem(tmp_path / "store")

    async def main() -> None:
        await anyio.to_thread.run_sync(files.pipe_file, "a", b"1")
        assert b"1" == await anyio.to_thread.run_sync(files.cat_file, "a")

    anyio.run(main, backend="trio")
    files.close()


def test_a_store_that_the_program_has_opened_is_used_and_stays_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with LocalStore(tmp_path / "store") as store:
            files = SteelyardFileSystem(store, asynchronous=True)
            result = await files._pipe_file("a", b"1")
            assert b"1" == await store.get(result.digest)
            blocking = SteelyardFileSystem(store)
            assert b"1" == await asyncio.to_thread(blocking.cat_file, "a")
            await files.aclose()
            assert await store.exists(result.digest)

    in_asyncio(main)


def test_close_closes_and_the_next_call_opens_again(tmp_path: Path) -> None:
    files = SteelyardFileSystem(tmp_path / "store")
    files.pipe_file("a", b"1")
    for _ in range(3):
        files.close()
        assert b"1" == files.cat_file("a")
    files.close()


def test_a_file_system_that_is_dropped_closes_its_store(tmp_path: Path) -> None:
    """The guard of all tests looks for the descriptors."""
    files = SteelyardFileSystem(tmp_path / "store", skip_instance_cache=True)
    files.pipe_file("a", b"1")
    file = files.open("a")
    assert b"1" == file.read()
    del files, file
    gc.collect()
