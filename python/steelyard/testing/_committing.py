"""Commit: refusals, the ingest afterwards, and the closed writer."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidLabel,
    SteelyardError,
    UnexpectedDigest,
    UnexpectedSize,
    WriterClosed,
)
from steelyard.testing._values import begin, data_of, digest_of, keep

WRONG = "sha256:" + "0" * 64


@pytest.mark.anyio
class CommittingContract:
    """containerd's CommitExists and CommitErrorState."""

    @pytest.mark.parametrize("options", [{}, {"size": 4}, {"expected": digest_of(b"data")}])
    async def test_a_commit_of_stored_bytes_fails_and_drops_the_ingest(
        self, store: Store, options: dict[str, Any]
    ) -> None:
        first, second = await store.writer("first", **options), await store.writer("second", **options)
        for writer in (first, second):
            await writer.write(b"data")
        stored = await first.commit(labels={"a": "first"})
        with pytest.raises(AlreadyExists) as caught:
            await second.commit(labels={"a": "second"})

        assert stored.digest == caught.value.digest
        assert stored == await store.info(stored.digest)
        assert [] == await store.list_statuses()
        with pytest.raises(WriterClosed):
            await second.commit()
        async with store.writer("second") as again:
            assert 0 == again.offset
            assert digest_of(b"") == await again.digest()

    @pytest.mark.parametrize("size", [None, 4])
    async def test_no_writer_opens_for_a_stored_digest(self, store: Store, size: int | None) -> None:
        digest = await keep(store, b"data")
        with pytest.raises(AlreadyExists) as caught:
            await store.writer("ref", size=size, expected=digest)

        assert digest == caught.value.digest
        assert [] == await store.list_statuses()

    async def test_resuming_an_ingest_drops_it_if_its_blob_was_stored_meanwhile(self, store: Store) -> None:
        await begin(store, "ref", b"da")
        digest = await keep(store, b"data")
        with pytest.raises(AlreadyExists):
            await store.writer("ref", expected=digest)

        assert [] == await store.list_statuses()

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"size": 5}, UnexpectedSize),
            ({"size": 3}, UnexpectedSize),
            ({"expected": WRONG}, UnexpectedDigest),
            ({"expected": "sha512:" + "0" * 128}, UnexpectedDigest),
            ({"size": 4, "expected": WRONG}, UnexpectedDigest),
            ({"expected": "sha256:short"}, InvalidArgument),
            ({"labels": {"": "no key"}}, InvalidLabel),
            ({"labels": {"key": "x" * 4096}}, InvalidLabel),
        ],
    )
    async def test_a_refused_commit_closes_and_keeps_the_bytes_for_another_try(
        self, store: Store, wrong: dict[str, Any], error: type[SteelyardError]
    ) -> None:
        digest = digest_of(b"data")
        writer = await store.writer("ref", size=4)
        await writer.write(b"data")
        left = await writer.status()
        with pytest.raises(error) as caught:
            await writer.commit(**wrong)

        if isinstance(caught.value, UnexpectedSize):
            assert ("ref", wrong["size"], 4) == (caught.value.ref, caught.value.expected, caught.value.actual)
        if isinstance(caught.value, UnexpectedDigest):
            assert ("ref", Digest.parse(wrong["expected"])) == (caught.value.ref, caught.value.expected)
        with pytest.raises(WriterClosed):
            await writer.write(b"more")
        assert left == await store.status("ref")
        assert not await store.exists(digest)

        async with store.writer("ref", algorithm=digest.algorithm) as again:
            assert (4, digest) == (again.offset, await again.digest())
            assert digest == (await again.commit(size=4, expected=digest)).digest
        assert [] == await store.list_statuses()

    async def test_a_verified_commit_publishes_the_bytes_of_several_writers(self, store: Store) -> None:
        data = data_of(300_000)
        await begin(store, "ref", data[:100_001])
        async with store.writer("ref") as writer:
            await writer.write(data[writer.offset :])
            info = await writer.commit(size=len(data), expected=digest_of(data), verify=True)

        assert digest_of(data) == info.digest
        assert data == await store.get(info.digest)
        assert [] == await store.list_statuses()

    async def test_a_commit_with_a_negative_size_is_refused(self, store: Store) -> None:
        writer = await store.writer("ref")
        with pytest.raises((InvalidArgument, UnexpectedSize)):
            await writer.commit(size=-1)
        with pytest.raises(WriterClosed):
            await writer.commit()

    async def test_a_commit_checks_its_own_size_and_digest_not_the_announced_ones(self, store: Store) -> None:
        async with store.writer("ref", size=10, expected=WRONG) as writer:
            await writer.write(b"data")
            info = await writer.commit()

        assert digest_of(b"data") == info.digest

    async def test_one_digest_committed_by_many_at_once_is_stored_once(self, store: Store) -> None:
        data = data_of(50_000)
        outcomes: list[str] = []

        async def commit(number: int) -> None:
            async with store.writer(f"ref {number}") as writer:
                await writer.write(data)
                try:
                    await writer.commit(labels={"number": str(number)})
                except AlreadyExists:
                    outcomes.append("exists")
                else:
                    outcomes.append(str(number))

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(commit, number)

        (winner,) = set(outcomes) - {"exists"}
        assert 7 == outcomes.count("exists")
        assert {"number": winner} == (await store.info(digest_of(data))).labels
        assert [] == await store.list_statuses()

    async def test_a_writer_left_by_an_error_keeps_the_ingest(self, store: Store) -> None:
        async def failing() -> None:
            async with store.writer("ref") as writer:
                await writer.write(b"data")
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await failing()

        assert 4 == (await store.status("ref")).offset
        await begin(store, "ref", b"more")
        assert 8 == (await store.status("ref")).offset

    async def test_a_blob_that_was_deleted_can_be_stored_again(self, store: Store) -> None:
        digest = await keep(store, b"data", a="b")
        await store.delete(digest)
        async with store.writer("ref", expected=digest) as writer:
            await writer.write(b"data")
            info = await writer.commit()

        assert {} == info.labels == (await store.info(digest)).labels
