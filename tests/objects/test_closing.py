"""The end of a store in a bucket ends all that was made of it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from steelyard.errors import FailedPrecondition
from steelyard.objects import ObjectStore

from .bucket import Bucket

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("bucket", "keys")]


async def test_a_store_with_a_lease_closes_with_its_store(tmp_path: Path, bucket: Bucket) -> None:
    async with ObjectStore("s3://bucket", spool=tmp_path) as store:
        digest = (await store.put(b"data")).digest
        leased = store.with_lease("lease")
    bucket.objects.clear()

    for call in (leased.get(digest), leased.put(b"data"), leased.list_statuses(), leased.collect()):
        with pytest.raises(FailedPrecondition, match="s3://bucket: not open"):
            await call


async def test_the_events_of_a_store_end_when_it_closes(tmp_path: Path) -> None:
    store = await ObjectStore("s3://bucket", spool=tmp_path).aopen()
    found: list[str] = []

    async def follow() -> None:
        async with store.events() as events:
            begun.set()
            found.extend([event.type async for event in events])

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            begun = anyio.Event()
            tasks.start_soon(follow)
            await begun.wait()
            await store.put(b"data")
            await anyio.wait_all_tasks_blocked()
            await store.aclose()
    assert ["created"] == found

    async with store, store.events() as events:
        await store.put(b"more")
        assert "created" == (await anext(events)).type
