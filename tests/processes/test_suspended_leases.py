"""Leases beside a process that is suspended while it holds SQLite's write lock."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from support.suspended import HANG_SECONDS, HOLDS_LABELS, Waits, held

from steelyard import LocalStore

pytestmark = pytest.mark.anyio


async def test_calls_under_a_lease_that_wait_are_cancelled_and_enter_nothing(tmp_path: Path) -> None:
    root, waits = tmp_path / "root", Waits()
    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store:
            there = (await store.put(b"there")).digest
            await store.leases.create("lease", expires=timedelta(hours=1))
            leased = store.with_lease("lease")
            writer = await store.with_lease("lease").writer("begun")
            await writer.write(b"begun")

            async def put_many() -> None:
                async with aclosing(leased.put_many([b"%d" % number for number in range(200)])) as results:
                    await anext(results)

            async def lease() -> None:
                async with store.lease():
                    pytest.fail("it did not wait")

            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: leased.put(b"there"),
                lambda: leased.put(b"new"),
                lambda: leased.put(b"there", expected=there),
                put_many,
                lambda: leased.writer("ref"),
                writer.commit,
                lambda: leased.leases.add("lease", digests=[there]),
                lambda: leased.leases.delete("lease"),
                lease,
            ]
            with held(HOLDS_LABELS, root, suspended=True):
                for call in calls:
                    await waits.cancelled(call)
                    assert (await store.put(os.urandom(9))).new
                    assert await store.get(there) == b"there"
                assert ["lease"] == [each.id for each in await store.leases.list()]
            found = await store.leases.resources("lease")
            assert ((), ("begun",)) == (found.blobs, found.refs)
            await writer.aclose()
            assert (await leased.put(b"new")).new
            assert not (await leased.put(b"there")).new
    waits.report()


async def test_calls_that_find_a_noted_blob_wait_and_are_cancelled_and_new_blobs_are_stored(tmp_path: Path) -> None:
    root, waits = tmp_path / "root", Waits()
    with anyio.fail_after(HANG_SECONDS):
        async with LocalStore(root) as store, LocalStore(tmp_path / "other") as other:
            there = (await store.put(b"there")).digest

            async def put_many() -> None:
                async with aclosing(store.put_many([b"there", *(b"%d" % number for number in range(200))])) as results:
                    async for result in results:
                        assert result.error is None

            async with store.writer("ref") as writer:
                await writer.write(b"there")
                await store.collect(grace=timedelta(hours=1))
                with held(HOLDS_LABELS, root, suspended=True):
                    for call in (
                        lambda: store.put(b"there"),
                        lambda: store.put(b"there", expected=there),
                        lambda: store.writer("other ref", expected=there),
                        put_many,
                        writer.commit,
                    ):
                        await waits.cancelled(call)
                        assert (await store.put(os.urandom(9))).new
                        assert (await other.put(os.urandom(9))).new
                        assert await store.get(there) == b"there"
            assert not (await store.put(b"there")).new
    waits.report()
