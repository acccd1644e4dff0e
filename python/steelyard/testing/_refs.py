"""Refs: any text, one writer at a time, abort, and waiting in order."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from steelyard.content import Store
from steelyard.errors import Aborted, InvalidArgument, NotFound, Unavailable, WriterClosed
from steelyard.testing._values import begin, digest_of, now
from steelyard.transfer import open_writer

REFS = (
    "a",
    "layer-sha256:" + "ab" * 32,
    "/etc/passwd",
    "../../../escape",
    "..",
    ".",
    "/",
    "a/../b//c/",
    "nul\x00nul",
    "line\nline\r\n",
    " ",
    "-rf",
    "Grüße, 世界 🎉",
    "e\u0301",
    "\u00e9",
    "x" * 4097,
    "y" * (1 << 20),
)


@pytest.mark.anyio
class RefsContract:
    """The lock of Ingester.writer, IngestManager, and refs that look like paths."""

    async def test_a_ref_is_any_text(self, store: Store) -> None:
        for number, ref in enumerate(REFS):
            await begin(store, ref, b"%d" % number)

        assert sorted(REFS) == [status.ref for status in await store.list_statuses()]
        for number, ref in enumerate(REFS):
            assert ref == (await store.status(ref)).ref
            async with store.writer(ref) as writer:
                assert digest_of(b"%d" % number) == await writer.digest()
                if number % 2:
                    await writer.commit()
            if not number % 2:
                await store.abort(ref)
        assert [] == await store.list_statuses()

    @pytest.mark.parametrize("ref", ["", "z" * ((1 << 20) + 1), "ü" * ((1 << 19) + 1), "\ud800", "a\udfffb"])
    async def test_a_ref_that_is_empty_too_long_or_no_text_is_refused(self, store: Store, ref: str) -> None:
        with pytest.raises(InvalidArgument):
            await store.writer(ref)
        with pytest.raises((InvalidArgument, NotFound)):
            await store.status(ref)
        with pytest.raises((InvalidArgument, NotFound)):
            await store.abort(ref)
        with pytest.raises(InvalidArgument):
            await store.put(b"data", ref=ref)
        assert [] == await store.list_statuses()

    async def test_a_held_ref_is_unavailable_and_names_its_holder(self, store: Store) -> None:
        before = now()
        async with store.writer("ref") as holder:
            await holder.write(b"data")
            for _ in range(2):
                with pytest.raises(Unavailable) as caught:
                    await store.writer("ref")
                assert caught.value.ref == "ref"
                assert caught.value.local
                assert caught.value.since is not None
                assert before - timedelta(milliseconds=1) <= caught.value.since <= now()
            with pytest.raises(Unavailable):
                await store.put(b"data", ref="ref")
            async with store.writer("other"):
                pass
            assert 4 == (await holder.commit()).size
        async with store.writer("ref") as free:
            assert 0 == free.offset

    async def test_an_ingest_that_does_not_exist_is_not_found(self, store: Store) -> None:
        for call in (store.status, store.abort):
            with pytest.raises(NotFound) as caught:
                await call("ref")
            assert ("ingest", "ref") == (caught.value.kind, caught.value.name)

    async def test_abort_discards_the_ingest_and_nothing_else(self, store: Store) -> None:
        await begin(store, "ref", b"data")
        await begin(store, "other", b"other")
        await store.abort("ref")

        assert ["other"] == [status.ref for status in await store.list_statuses()]
        with pytest.raises(NotFound):
            await store.abort("ref")
        async with store.writer("ref") as writer:
            assert 0 == writer.offset

    async def test_abort_fences_a_live_writer_and_frees_the_ref_at_once(self, store: Store) -> None:
        fenced = await store.writer("ref")
        await fenced.write(b"old")
        await store.abort("ref")
        with pytest.raises(NotFound):
            await store.status("ref")

        async with store.writer("ref") as fresh:
            await fresh.write(b"new")
            for call in (
                lambda: fenced.write(b"more"),
                fenced.sync,
                fenced.digest,
                fenced.status,
                lambda: fenced.truncate(0),
                fenced.commit,
            ):
                with pytest.raises(Aborted) as caught:
                    await call()
                assert "ref" == caught.value.ref
            await fenced.aclose()
            await fenced.aclose()
            with pytest.raises((WriterClosed, Aborted)):
                await fenced.write(b"more")
            assert 3 == (await store.status("ref")).offset
            with pytest.raises(Unavailable):
                await store.writer("ref")
            assert digest_of(b"new") == (await fresh.commit()).digest
        assert not await store.exists(digest_of(b"old"))

    async def test_waiting_writers_get_the_ref_in_the_order_in_which_they_came(self, store: Store) -> None:
        order: list[int] = []

        async def wait(number: int, entered: anyio.Event) -> None:
            entered.set()
            async with open_writer(store, "ref") as writer:
                order.append(number)
                await writer.write(b"%d" % number)
                await writer.sync()

        async with anyio.create_task_group() as tasks, store.writer("ref"):
            for number in range(8):
                entered = anyio.Event()
                tasks.start_soon(wait, number, entered)
                await entered.wait()
                await anyio.lowlevel.checkpoint()
            assert [] == order

        assert list(range(8)) == order
        assert 8 == (await store.status("ref")).offset

    @pytest.mark.parametrize("end", ["close", "commit", "refused commit", "abort"])
    async def test_every_end_of_a_writer_wakes_the_one_that_waits(self, store: Store, end: str) -> None:
        holder = await store.writer("ref")
        await holder.write(b"data")

        async def finish() -> None:
            await anyio.lowlevel.checkpoint()
            if end == "close":
                await holder.aclose()
            elif end == "commit":
                await holder.commit()
            elif end == "abort":
                await store.abort("ref")
            else:
                with pytest.raises(Exception, match="expected 5 bytes"):
                    await holder.commit(size=5)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish)
            with anyio.fail_after(30):
                async with open_writer(store, "ref") as writer:
                    assert (4 if end in {"close", "refused commit"} else 0) == writer.offset
        await holder.aclose()

    async def test_a_long_wait_is_reported_once(self, store: Store) -> None:
        notified = anyio.Event()
        count = 0

        def notify() -> None:
            nonlocal count
            count += 1
            notified.set()

        async def end() -> None:
            await notified.wait()
            await holder.aclose()

        holder = await store.writer("ref")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            with anyio.fail_after(30):
                await (await open_writer(store, "ref", on_wait=notify)).aclose()
        await (await open_writer(store, "ref", on_wait=notify)).aclose()
        assert 1 == count

    async def test_a_cancelled_wait_leaves_the_holder_and_the_queue_alone(self, store: Store) -> None:
        async with store.writer("ref") as holder:
            with anyio.move_on_after(0.02) as scope:
                await open_writer(store, "ref")
            assert scope.cancelled_caught
            await holder.write(b"data")
        async with open_writer(store, "ref") as writer:
            assert 4 == writer.offset
