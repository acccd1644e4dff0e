"""Writers: accepted data, status, and calls after the close."""

from __future__ import annotations

import array
from typing import Any

import pytest

from steelyard.content import Store
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, NotFound, OutOfRange, UnsupportedAlgorithm, WriterClosed
from steelyard.testing._values import data_of, digest_of, now
from steelyard.transfer import open_writer


@pytest.mark.anyio
class WritingContract:
    """containerd's Writer, UpdateStatus and SmallBlob, and the edges of each call."""

    large_size = 4 << 20
    """The size of the largest blob in bytes; containerd's suite uses 32 MiB."""

    async def test_five_writers_at_once_with_every_mix_of_hints(self, store: Store) -> None:
        data = [data_of(256, number) for number in range(4)] + [data_of(self.large_size, "large")]
        digests = [digest_of(each) for each in data]
        writers = [
            await store.writer("none"),
            await store.writer("size", size=256),
            await store.writer("digest", expected=digests[2]),
            await store.writer("both", size=256, expected=digests[3]),
            await store.writer("large", size=self.large_size, expected=digests[4]),
        ]
        # The first 64 KiB in pieces of 32 bytes, as in containerd's suite; the rest in pieces that align with no block.
        steps = [*range(0, 65536, 32), *range(65536, self.large_size, 65521)]
        for start, end in zip(steps, [*steps[1:], self.large_size], strict=True):
            for writer, each in zip(writers, data, strict=True):
                if start < len(each):
                    await writer.write(each[start:end])

        for number, (writer, each) in enumerate(zip(writers, data, strict=True)):
            before = now()
            assert digests[number] == await writer.digest()
            info = await writer.commit(labels={"number": str(number)})
            after = now()

            assert (digests[number], len(each)) == (info.digest, info.size)
            assert {"number": str(number)} == info.labels
            assert before.replace(microsecond=0) <= info.created_at <= after  # some servers report whole seconds
            assert info.created_at == info.updated_at
            assert info == await store.info(digests[number])
            assert each == await store.get(digests[number])
        assert [] == await store.list_statuses()

    async def test_status_and_digest_move_with_each_write(self, store: Store) -> None:
        data = data_of(256)
        expected = digest_of(b"what will be expected")
        before = now()
        async with store.writer("ref", size=256, expected=expected) as writer:
            for offset in (0, 64, 192, 256):
                await writer.write(data[writer.offset : offset])
                status = await store.status("ref")

                assert ("ref", offset, 256, expected) == (status.ref, status.offset, status.total, status.expected)
                assert digest_of(data[:offset]) == await writer.digest()
                assert before <= status.started_at <= status.updated_at <= now()
                assert status == await writer.status()
                assert [status] == await store.list_statuses()
                assert ("ref", offset) == (writer.ref, writer.offset)
            assert digest_of(data) == (await writer.commit(size=256)).digest
        with pytest.raises(NotFound):
            await store.status("ref")

    async def test_unknown_total_and_expected_are_none_and_zero_is_a_size(self, store: Store) -> None:
        async with store.writer("unknown"), store.writer("zero", size=0):
            unknown, zero = await store.list_statuses()

        assert (None, None) == (unknown.total, unknown.expected)
        assert 0 == zero.total

    async def test_a_resume_keeps_or_replaces_total_and_expected(self, store: Store) -> None:
        first, second = digest_of(b"first"), digest_of(b"second")
        for size, expected, kept in ((10, first, (10, first)), (None, None, (10, first)), (20, second, (20, second))):
            await (await store.writer("ref", size=size, expected=expected)).aclose()
            status = await store.status("ref")

            assert kept == (status.total, status.expected)

    async def test_the_empty_blob_is_a_blob(self, store: Store) -> None:
        async with store.writer("ref") as writer:
            info = await writer.commit(size=0, expected=digest_of(b""))

        assert 0 == info.size
        assert b"" == await store.get(info.digest)

    @pytest.mark.parametrize("algorithm", Algorithm)
    async def test_every_algorithm_names_a_blob(self, store: Store, algorithm: Algorithm) -> None:
        data = data_of(100_000)
        async with store.writer("ref", algorithm=algorithm) as writer:
            await writer.write(data)
            assert digest_of(data, algorithm) == await writer.digest()
            info = await writer.commit()

        assert digest_of(data, algorithm) == info.digest
        assert data == await store.get(info.digest)

    @pytest.mark.parametrize("algorithm", Algorithm)
    async def test_commit_may_expect_another_algorithm_than_the_writers(
        self, store: Store, algorithm: Algorithm
    ) -> None:
        data = data_of(100_000)
        async with store.writer("ref") as writer:
            await writer.write(data)
            info = await writer.commit(expected=digest_of(data, algorithm))

        assert digest_of(data, algorithm) == info.digest
        assert data == await store.get(info.digest)

    async def test_the_expected_digest_chooses_the_algorithm(self, store: Store) -> None:
        async with store.writer("ref", expected=digest_of(b"abc", Algorithm.SHA512)) as writer:
            assert digest_of(b"", Algorithm.SHA512) == await writer.digest()

    async def test_any_flat_buffer_is_taken_and_not_held(self, store: Store) -> None:
        changing = bytearray(b"bytearray")
        async with store.writer("ref") as writer:
            for data in (b"bytes", changing, memoryview(b"view")[1:], array.array("b", b"signed"), b""):
                await writer.write(data)
            await writer.send(b"sent")
            changing[:] = b"x" * len(changing)
            changing.extend(b"grows")
            info = await writer.commit()

        assert b"bytesbytearrayiewsignedsent" == await store.get(info.digest)

    @pytest.mark.parametrize(
        "wrong",
        [
            "text",
            None,
            7,
            memoryview(b"every other")[::2],
            array.array("i", [1]),
            memoryview(b"1234").cast("B", (2, 2)),
        ],
    )
    async def test_an_invalid_buffer_is_refused_and_the_writer_stays_usable(self, store: Store, wrong: Any) -> None:
        async with store.writer("ref") as writer:
            with pytest.raises((TypeError, BufferError)):
                await writer.write(wrong)
            await writer.write(b"right")
            info = await writer.commit()

        assert digest_of(b"right") == info.digest

    async def test_a_write_larger_than_any_piece_is_accepted_whole(self, store: Store) -> None:
        data = data_of((9 << 20) + 1)
        async with store.writer("ref") as writer:
            await writer.write(data)
            assert len(data) == writer.offset
            info = await writer.commit()

        assert digest_of(data) == info.digest

    async def test_a_writer_can_be_awaited_or_entered_and_frees_its_ref_either_way(self, store: Store) -> None:
        async with store.writer("ref") as writer:
            await writer.write(b"entered, ")
        async with await store.writer("ref") as writer:
            await writer.write(b"awaited, ")
        async with open_writer(store, "ref") as writer:
            await writer.write(b"waited for")

        with pytest.raises(ZeroDivisionError):
            async with store.writer("ref") as writer:
                raise ZeroDivisionError
        opened = store.writer("ref")
        async with opened as writer:
            assert digest_of(b"entered, awaited, waited for") == (await writer.commit()).digest
        with pytest.raises(RuntimeError, match="call it again"):
            await opened

    async def test_an_opening_that_is_not_used_holds_no_ref(self, store: Store) -> None:
        store.writer("ref").close()

        assert [] == await store.list_statuses()
        async with store.writer("ref"):
            pass

    @pytest.mark.parametrize("end", ["commit", "aclose"])
    async def test_a_closed_writer_refuses_everything_but_another_close(self, store: Store, end: str) -> None:
        writer = await store.writer("ref")
        await writer.write(b"data")
        await (writer.commit() if end == "commit" else writer.aclose())

        for call in (
            lambda: writer.write(b"more"),
            lambda: writer.send(b"more"),
            writer.digest,
            writer.status,
            lambda: writer.truncate(0),
            writer.sync,
            writer.commit,
        ):
            with pytest.raises(WriterClosed) as caught:
                await call()
            assert "ref" == caught.value.ref
        await writer.aclose()
        await writer.aclose()

    async def test_truncate_goes_to_any_smaller_size_and_no_further(self, store: Store) -> None:
        data = data_of(10_000)
        async with store.writer("ref") as writer:
            await writer.write(data)
            for size in (10_000, 9_999, 5_000, 1):
                await writer.truncate(size)
                assert size == writer.offset == (await writer.status()).offset
                assert digest_of(data[:size]) == await writer.digest()
            for size, error in ((2, OutOfRange), (-1, InvalidArgument)):
                with pytest.raises(error):
                    await writer.truncate(size)
            await writer.write(data[1:])
            await writer.sync()
            info = await writer.commit(size=10_000, expected=digest_of(data))
        assert data == await store.get(info.digest)

    async def test_a_negative_size_and_an_unknown_algorithm_are_refused(self, store: Store) -> None:
        unknown: Any = "md5"
        with pytest.raises(InvalidArgument):
            await store.writer("ref", size=-1)
        with pytest.raises(UnsupportedAlgorithm):
            await store.writer("ref", algorithm=unknown)
        with pytest.raises(InvalidArgument):
            await store.writer("ref", expected="sha256:short")

        assert [] == await store.list_statuses()

    async def test_a_digest_may_be_given_as_text(self, store: Store) -> None:
        text = str(digest_of(b"abc"))
        async with store.writer("ref", expected=text) as writer:
            await writer.write(b"abc")
            info = await writer.commit(size=3, expected=text)

        assert Digest.parse(text) == info.digest
