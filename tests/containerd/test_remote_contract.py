"""RemoteStore keeps the contract, on a real containerd; where it does not, the tests here say what holds in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from steelyard.containerd.remote import RemoteStore
from steelyard.containerd.service import Server
from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.errors import InvalidArgument, NotFound, OutOfRange, SteelyardError, UnexpectedSize, Unsupported
from steelyard.model import LABEL_LIMIT, Descriptor, Status
from steelyard.testing import StoreContract
from steelyard.testing._values import begin, data_of, digest_of, keep
from steelyard.transfer import open_writer

pytestmark = pytest.mark.slow


def without_update(status: Status) -> Status:
    """Return the status without the time that containerd moves when a writer is closed."""
    return msgspec.structs.replace(status, updated_at=status.started_at)


class OverTheWire(StoreContract):
    """Values that the protocol cannot carry."""

    async def test_an_open_reader_outlives_the_blob(self, store: Store) -> None:
        """A reader holds nothing at the server."""
        digest = await keep(store, b"data")
        async with store.reader_at(digest) as reader:
            await store.delete(digest)
            with pytest.raises(NotFound):
                await reader.read_at(0, 4)

    async def test_a_verified_commit_publishes_the_bytes_of_several_writers(self, store: Store) -> None:
        """The protocol cannot ask for it; the ingest keeps its bytes."""
        async with store.writer("ref") as writer:
            await writer.write(b"data")
            with pytest.raises(Unsupported):
                await writer.commit(verify=True)
        assert 4 == (await store.status("ref")).offset

    # A message at offset 0 drops what there is; to truncate to another size there is no way.

    @pytest.mark.parametrize("call", ["digest", "status", "sync"])
    async def test_a_cancelled_call_leaves_the_writer_usable(self, store: Store, call: str) -> None:
        await super().test_a_cancelled_call_leaves_the_writer_usable(store, call)

    @pytest.mark.parametrize("size", [500, 5_000, 50_000])
    @pytest.mark.parametrize("way", ["rewrite", "tail", "plain", "seekable", "random"])
    async def test_every_way_of_going_on_ends_in_the_same_blob(self, store: Store, size: int, way: str) -> None:
        await super().test_every_way_of_going_on_ends_in_the_same_blob(store, size, way)

    async def test_truncate_goes_to_any_smaller_size_and_no_further(self, store: Store) -> None:
        data = data_of(10_000)
        async with store.writer("ref") as writer:
            await writer.write(data)
            await writer.truncate(10_000)
            with pytest.raises(Unsupported):
                await writer.truncate(9_999)
            for size, error in ((10_001, OutOfRange), (-1, InvalidArgument)):
                with pytest.raises(error):
                    await writer.truncate(size)
            assert digest_of(data) == await writer.digest()
            await writer.truncate(0)
            assert 0 == writer.offset == (await writer.status()).offset
            assert digest_of(b"") == await writer.digest()
            await writer.write(data)
            info = await writer.commit(size=10_000, expected=digest_of(data))
        assert data == await store.get(info.digest)

    async def test_a_truncated_ingest_is_resumed_where_it_was_cut(self, store: Store) -> None:
        await begin(store, "ref", b"0123456789")
        async with store.writer("ref") as writer:
            await writer.truncate(0)
        async with store.writer("ref") as writer:
            assert 0 == writer.offset
            await writer.write(b"new")
            info = await writer.commit()

        assert b"new" == await store.get(info.digest)


class TestOurService(OverTheWire):
    """A LocalStore behind our own service."""

    @pytest.fixture
    async def store(self, service: Server) -> AsyncIterator[RemoteStore]:
        async with RemoteStore(service.address, namespace=None) as store:
            yield store

    async def test_a_writer_that_waits_gets_no_ref_that_is_being_aborted(
        self, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The end of the stream frees the ref at the server before the abort is there."""
        holder = await store.writer("ref")
        await holder.write(b"data")
        await holder.sync()
        abort = store._content.abort

        async def late_abort(ref: str) -> None:
            await anyio.sleep(0.1)  # time for the other writer to take the ref, if it were woken
            await abort(ref)

        monkeypatch.setattr(store._content, "abort", late_abort)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.abort, "ref")
            async with open_writer(store, "ref") as writer:
                assert 0 == writer.offset


class TestRealContainerd(OverTheWire):
    """containerd 1.6."""

    @pytest.fixture
    async def store(self, isolated_containerd: str, namespace: str) -> AsyncIterator[RemoteStore]:
        async with RemoteStore(isolated_containerd, namespace=namespace) as store:
            yield store

    # It knows SHA-256 only; later releases SHA-384 and SHA-512 too.

    async def test_walk_gives_every_blob_once_ordered_by_digest(self, store: Store) -> None:
        kept = [await keep(store, b"%d" % number, number=str(number)) for number in range(250)]
        await begin(store, "ref", b"an ingest is no blob")

        found = [info async for info in store.walk()]
        assert sorted(kept, key=str) == [info.digest for info in found]
        assert {info.digest: info for info in found} == await store.infos(kept)

    @pytest.mark.parametrize("algorithm", [Algorithm.SHA256])
    async def test_put_uses_the_given_algorithm(self, store: Store, algorithm: Algorithm, tmp_path: Path) -> None:
        await super().test_put_uses_the_given_algorithm(store, algorithm, tmp_path)

    @pytest.mark.parametrize("algorithm", [Algorithm.SHA256])
    async def test_a_stream_gives_the_whole_blob_and_then_ends(self, store: Store, algorithm: Algorithm) -> None:
        await super().test_a_stream_gives_the_whole_blob_and_then_ends(store, algorithm)

    @pytest.mark.parametrize("algorithm", [Algorithm.SHA256])
    async def test_commit_may_expect_another_algorithm_than_the_writers(
        self, store: Store, algorithm: Algorithm
    ) -> None:
        await super().test_commit_may_expect_another_algorithm_than_the_writers(store, algorithm)

    @pytest.mark.parametrize("algorithm", Algorithm)
    async def test_every_algorithm_names_a_blob(self, store: Store, algorithm: Algorithm) -> None:
        if algorithm is Algorithm.SHA256:
            await super().test_every_algorithm_names_a_blob(store, algorithm)
            return
        async with store.writer("ref", algorithm=algorithm) as writer:
            await writer.write(b"data")
            assert digest_of(b"data", algorithm) == await writer.digest()
            with pytest.raises(Unsupported):
                await writer.commit()

    # It keeps the total, and forgets what was expected; it says of an ingest that it changed when its writer was closed.

    async def test_a_resume_keeps_or_replaces_total_and_expected(self, store: Store) -> None:
        for size, kept in ((10, 10), (20, 20)):
            await (await store.writer("ref", size=size, expected=digest_of(b"first"))).aclose()
            status = await store.status("ref")

            assert (kept, None) == (status.total, status.expected)

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"size": 5}, UnexpectedSize),
            ({"expected": "sha256:" + "0" * 64}, SteelyardError),
            ({"expected": "sha512:" + "0" * 128}, Unsupported),
            ({"expected": "sha256:short"}, InvalidArgument),
            ({"labels": {"key": "x" * LABEL_LIMIT}}, InvalidArgument),
        ],
    )
    async def test_a_refused_commit_closes_and_keeps_the_bytes_for_another_try(
        self, store: Store, wrong: dict[str, Any], error: type[SteelyardError]
    ) -> None:
        writer = await store.writer("ref", size=4)
        await writer.write(b"data")
        left = await writer.status()
        with pytest.raises(error):
            await writer.commit(**wrong)

        assert without_update(left) == without_update(await store.status("ref"))
        async with store.writer("ref") as again:
            assert (4, digest_of(b"data")) == (again.offset, await again.digest())
            assert digest_of(b"data") == (await again.commit(size=4, expected=digest_of(b"data"))).digest

    @pytest.mark.parametrize("size", [2, 5_000, 3 << 20])
    async def test_a_reopened_writer_continues_where_the_last_one_stopped(self, store: Store, size: int) -> None:
        data = data_of(size)
        async with store.writer("ref", size=size) as writer:
            await writer.write(data[: size // 2])
            left = await writer.status()
        assert without_update(left) == without_update(await store.status("ref"))
        async with store.writer("ref", size=size) as writer:
            assert (size // 2, digest_of(data[: size // 2])) == (writer.offset, await writer.digest())
            await writer.write(data[size // 2 :])
            assert digest_of(data) == (await writer.commit(size=size)).digest

    # Other differences.

    async def test_a_resume_may_change_the_algorithm(self, store: Store) -> None:
        await begin(store, "ref", b"data")
        async with store.writer("ref", algorithm=Algorithm.SHA384) as writer:
            with pytest.raises(Unsupported):
                await writer.digest()

    @pytest.mark.parametrize("labels", [{"k" * 1000: "v" * (LABEL_LIMIT - 1000)}, {"ключ": "ü" * 100}])
    async def test_any_text_within_the_limit_is_a_label(self, store: Store, labels: dict[str, str]) -> None:
        """A label with an empty value is one that is removed."""
        await super().test_any_text_within_the_limit_is_a_label(store, labels)
        digest = await keep(store, b"more", empty="", other="x")
        assert {"other": "x"} == (await store.info(digest)).labels

    async def test_a_descriptor_may_have_only_a_digest(self, store: Store) -> None:
        """A name wants to know size and media type."""
        with pytest.raises(InvalidArgument):
            await store.images.create("a", Descriptor(digest=digest_of(b"data")))

    async def test_filters_choose_names(self, store: Store) -> None:
        for name, size, labels in (("b:1", 1, {"env": "prod"}), ("a:1", 22, {}), ("a:2", 333, {"env": "test"})):
            target = Descriptor(digest=digest_of(name.encode()), size=size, media_type="text/plain")
            await store.images.create(name, target, labels=labels)

        for filters, expected in (
            ([], ["a:1", "a:2", "b:1"]),
            (["name~=^a:"], ["a:1", "a:2"]),
            (["name==b:1", "labels.env==test"], ["a:2", "b:1"]),
            ([f"digest=={digest_of(b'a:1')}"], ["a:1"]),
            (["size>=22"], ["a:1", "a:2"]),
        ):
            assert expected == [image.name for image in await store.images.list(*filters)], filters
