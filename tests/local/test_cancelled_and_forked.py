"""How a `LocalStore` ends in awkward ways: cancelled by asyncio itself, forked, closed under its writers."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from steelyard import AlreadyExists, Digest, FailedPrecondition, LocalStore, NotFound

BYTES = os.urandom(3 << 20)


def test_asyncio_cancelling_a_writer_at_any_moment_leaves_the_ref_free(tmp_path: Path) -> None:
    """`Task.cancel` is not a cancel scope: no shield stops it, and still no piece may be abandoned."""

    async def write(store: LocalStore) -> None:
        async with store.writer("ref") as writer:
            await writer.truncate(0)
            for start in range(0, len(BYTES), 1 << 19):
                await writer.write(BYTES[start : start + (1 << 19)])
            await writer.commit()

    async def main() -> None:
        async with LocalStore(tmp_path / "store") as store:
            for delay in range(40):
                task = asyncio.create_task(write(store))
                for _ in range(delay):
                    await asyncio.sleep(0.0002)
                task.cancel()
                with suppress(asyncio.CancelledError, AlreadyExists):  # the last rounds get to the commit
                    await task
                writer = await store.writer("ref")
                held = await writer.digest()

                assert held == Digest.parse(f"sha256:{_sha256(BYTES[: writer.offset])}")

                await writer.aclose()

    asyncio.run(main())


def _sha256(data: bytes) -> str:
    import hashlib  # noqa: PLC0415  # the yardstick, not the store's own

    return hashlib.sha256(data).hexdigest()


@pytest.mark.anyio
async def test_a_store_refuses_to_work_in_the_child_of_a_fork(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        stored = await store.put(b"parent")
        child = os.fork()
        if child == 0:
            os._exit(_in_child(store))
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222  # it ends by itself, at once

        assert os.waitstatus_to_exitcode(status) == 0
        assert await store.get(stored.digest) == b"parent"


def _in_child(store: LocalStore) -> int:
    try:
        store.notes()
    except FailedPrecondition:
        return 0
    return 1


@pytest.mark.anyio
async def test_a_writer_outlives_its_store_only_to_be_closed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    await store.aopen()
    writer = await store.writer("ref")
    await writer.write(b"kept")
    await store.aclose()
    await writer.aclose()

    async with LocalStore(tmp_path) as again:
        status = await again.status("ref")

        assert status.offset == 4

        with pytest.raises(NotFound):
            await again.status("other")
