"""Cancellation at every await of every operation: only the documented state remains."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from steelyard._runtime.refqueue import ref_queue
from steelyard.content import Store, Writer
from steelyard.errors import AlreadyExists, NotFound, WriterClosed
from steelyard.memory import MemoryStore
from steelyard.model import Info, Labels
from steelyard.testing._steps import cancel_at, every_wait
from steelyard.testing._values import begin, data_of, digest_of, keep, now
from steelyard.transfer import copy, open_writer

SIZE = 200_000


async def offset_of_free(store: Store, ref: str) -> int:
    """Open the ref, which fails while it is held, and return the size of its ingest in bytes."""
    async with store.writer(ref) as writer:
        return writer.offset


@pytest.mark.anyio
class CancellingContract:
    """Each test cancels its operation at each of its waits in turn, until it ends without a cancellation."""

    async def test_a_cancelled_opening_holds_no_ref(self, store: Store) -> None:
        async def run(step: int) -> None:
            async with store.writer(f"{step}", size=step):
                pass

        async for step in every_wait(run):
            assert 0 == await offset_of_free(store, f"{step}")

    async def test_a_cancelled_wait_for_a_ref_holds_neither_ref_nor_place(self, store: Store) -> None:
        async def run(step: int) -> None:
            async with open_writer(store, f"{step}"):
                pass

        async for step in every_wait(run):
            assert 0 == await offset_of_free(store, f"{step}")
            async with open_writer(store, f"{step}"):
                pass
        assert not ref_queue(store)._waiters  # noqa: SLF001  # no task is left waiting

    async def test_a_cancelled_write_accepts_all_or_nothing(self, store: Store) -> None:
        data = data_of(SIZE)

        async def run(step: int) -> None:
            async with store.writer(f"{step}") as writer:
                writers.append(writer)
                await writer.write(data)
                await writer.write(data)

        writers: list[Writer] = []
        async for step in every_wait(run):
            async with store.writer(f"{step}") as writer:
                assert writer.offset in {0, SIZE, 2 * SIZE}
                assert digest_of((data * 2)[: writer.offset]) == await writer.digest()
                if writers and writers[-1].ref == writer.ref:
                    assert writers[-1].offset == writer.offset

    @pytest.mark.parametrize("call", ["digest", "status", "sync", "truncate"])
    async def test_a_cancelled_call_leaves_the_writer_usable(self, store: Store, call: str) -> None:
        data = data_of(SIZE)

        async def run(step: int) -> None:
            del step
            calls: dict[str, Any] = {
                "digest": writer.digest,
                "status": writer.status,
                "sync": writer.sync,
                "truncate": lambda: writer.truncate(SIZE // 2),
            }
            await calls[call]()

        async with store.writer("ref") as writer:
            await writer.write(data)
            async for _ in every_wait(run):
                assert writer.offset in {SIZE, SIZE // 2}
                await writer.write(data[writer.offset :])
                assert digest_of(data) == await writer.digest()
            assert digest_of(data) == (await writer.commit(size=SIZE)).digest

    async def test_a_cancelled_commit_stores_the_blob_or_keeps_the_ingest(self, store: Store) -> None:
        async def run(step: int) -> None:
            async with store.writer(f"{step}") as writer:
                writers[step] = writer
                await writer.write(data_of(SIZE, step))
                await writer.commit(labels={"step": str(step)})

        writers: dict[int, Writer] = {}
        async for step in every_wait(run):
            data, held = data_of(SIZE, step), await offset_of_free(store, f"{step}")
            if step in writers:
                with pytest.raises(WriterClosed):
                    await writers[step].write(b"more")
            if await store.exists(digest_of(data)):
                assert 0 == held
                assert data == await store.get(digest_of(data))
                assert {"step": str(step)} == (await store.info(digest_of(data))).labels
            else:
                assert held in {0, SIZE}
        assert await store.exists(digest_of(data_of(SIZE, step)))

    async def test_a_cancelled_close_keeps_the_bytes_and_frees_the_ref(self, store: Store) -> None:
        data = data_of(SIZE)
        for step in itertools.count(1):
            writer = await store.writer(f"{step}")
            await writer.write(data)
            untouched = await cancel_at(step, writer.aclose)

            assert SIZE == (await store.status(f"{step}")).offset
            assert SIZE == await offset_of_free(store, f"{step}")
            if untouched:
                break

    async def test_a_cancelled_put_leaves_a_blob_or_nothing(self, store: Store, tmp_path: Path) -> None:
        async def run(step: int) -> None:
            (tmp_path / "source").write_bytes(data_of(SIZE, step))
            await store.put(tmp_path / "source", labels={"step": str(step)})

        async for step in every_wait(run):
            assert [] == await store.list_statuses()
            if await store.exists(digest_of(data_of(SIZE, step))):
                assert data_of(SIZE, step) == await store.get(digest_of(data_of(SIZE, step)))

    async def test_a_cancelled_put_with_a_ref_can_be_repeated(self, store: Store) -> None:
        async def source(step: int) -> AsyncGenerator[bytes, None]:
            data = data_of(SIZE, step)
            for start in range(0, SIZE, 70_000):
                yield data[start : start + 70_000]

        async def run(step: int) -> None:
            opened.append(source(step))
            await store.put(opened[-1], ref=f"{step}")

        opened: list[AsyncGenerator[bytes, None]] = []
        async for step in every_wait(run):
            await opened[-1].aclose()
            assert all(status.offset in {0, 70_000, 140_000, SIZE} for status in await store.list_statuses())
            again = source(step)
            assert digest_of(data_of(SIZE, step)) == (await store.put(again, ref=f"{step}")).digest
            await again.aclose()
            assert [] == await store.list_statuses()

    async def test_a_cancelled_copy_can_be_repeated(self, store: Store) -> None:
        source = MemoryStore()

        async def run(step: int) -> None:
            await copy(source, await keep(source, data_of(SIZE, step)), store)

        async for step in every_wait(run):
            digest = await keep(source, data_of(SIZE, step))
            await copy(source, digest, store)
            assert data_of(SIZE, step) == await store.get(digest)
            assert [] == await store.list_statuses()

    async def test_a_cancelled_abort_leaves_the_ref_free(self, store: Store) -> None:
        async def run(step: int) -> None:
            await begin(store, f"{step}", b"data")
            await store.abort(f"{step}")

        async for step in every_wait(run):
            assert await offset_of_free(store, f"{step}") in {0, 4}

    async def test_a_cancelled_update_changes_all_or_nothing(self, store: Store) -> None:
        digest = await keep(store, b"data", a="0", b="0")

        async def run(step: int) -> None:
            labels = Labels({"a": str(step), "b": str(step)})
            await store.update(Info(digest=digest, size=0, created_at=now(), updated_at=now(), labels=labels))

        async for _ in every_wait(run):
            labels = (await store.info(digest)).labels
            assert labels["a"] == labels["b"]
        assert "0" != labels["a"]

    async def test_a_cancelled_delete_leaves_a_whole_blob_or_none(self, store: Store) -> None:
        async def run(step: int) -> None:
            await store.delete(await keep(store, b"%d" % step, a="b"))

        async for step in every_wait(run):
            try:
                info = await store.info(digest_of(b"%d" % step))
            except NotFound:
                continue
            assert {"a": "b"} == info.labels
            assert b"%d" % step == await store.get(info.digest)

    async def test_cancelled_reads_leave_nothing_open(self, store: Store) -> None:
        data = data_of(SIZE)
        digest = await keep(store, data)

        async def run(step: int) -> None:
            del step
            async with store.reader_at(digest) as reader:
                assert data[10:20] == await reader.read_at(10, 10)
                assert data == b"".join([piece async for piece in reader.stream()])
            assert data == await store.get(digest)
            assert [digest] == [info.digest async for info in store.walk()]
            assert {digest} == set(await store.infos([digest]))

        async for _ in every_wait(run):
            pass
        await run(0)

    async def test_a_writer_of_a_stored_digest_holds_nothing_when_cancelled(self, store: Store) -> None:
        digest = await keep(store, b"data")

        async def run(step: int) -> None:
            with pytest.raises(AlreadyExists):
                await store.writer(f"{step}", expected=digest)

        async for step in every_wait(run):
            assert 0 == await offset_of_free(store, f"{step}")
