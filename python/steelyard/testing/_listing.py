"""Walks, filters, `infos` and deletes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest

from steelyard.content import Store
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidFilter, NotFound
from steelyard.model import Info
from steelyard.testing._values import begin, digest_of, keep


async def digests(walk: AsyncIterator[Info]) -> list[Digest]:
    """Return the digests of a walk, in its order."""
    return [info.digest async for info in walk]


@pytest.mark.anyio
class ListingContract:
    """Manager.walk, IngestManager.list_statuses, Store.infos and delete."""

    async def test_walk_of_an_empty_store_is_empty(self, store: Store) -> None:
        assert [] == await digests(store.walk())
        assert [] == await store.list_statuses()

    async def test_walk_gives_every_blob_once_ordered_by_digest(self, store: Store) -> None:
        kept = [await keep(store, b"%d" % number, number=str(number)) for number in range(50)]
        kept += [(await store.put(b"data", algorithm=algorithm)).digest for algorithm in Algorithm]
        await begin(store, "ref", b"an ingest is no blob")

        assert sorted(kept, key=str) == await digests(store.walk())
        async for info in store.walk():
            assert info == await store.info(info.digest)

    async def test_filters_choose_by_digest_label_size_and_time(self, store: Store) -> None:
        one = await keep(store, b"1", kind="odd", dotted_key="x")
        two = await keep(store, b"22", kind="even")
        three = await keep(store, b"333", kind="odd")
        plain = await keep(store, b"4444")
        await store.put(b"55555", labels={"containerd.io/gc.root": "yes"})
        dotted = digest_of(b"55555")
        everything = {one, two, three, plain, dotted}
        infos = await store.infos(everything)
        created = infos[three].created_at
        # A store with times in whole seconds may have given later blobs the same time.
        earlier = {digest for digest, info in infos.items() if info.created_at <= created}
        assert {one, two, three} <= earlier

        for filters, expected in (
            ([], everything),
            ([""], everything),
            (["labels.kind==even", ""], everything),
            (["labels.kind==odd"], {one, three}),
            (["labels.kind"], {one, two, three}),
            (["labels.kind!=odd"], {two, plain, dotted}),
            (["labels.kind~=^o"], {one, three}),
            (["labels.kind~=.*"], everything),
            (["labels.kind==odd,labels.dotted_key"], {one}),
            (["labels.kind==even", "labels.dotted_key==x"], {one, two}),
            (['labels."containerd.io/gc.root"==yes'], {dotted}),
            (["labels.none"], set()),
            ([f"digest=={plain}"], {plain}),
            ([f"digest~=/{str(two)[:20]}/"], {two}),
            (["size>=3"], {three, plain, dotted}),
            (["size<3,labels.kind==odd"], {one}),
            ([f'created_at<="{created.isoformat()}"'], earlier),
        ):
            found = await digests(store.walk(*filters))

            assert expected == set(found), filters
            assert sorted(found, key=str) == found

    async def test_filters_choose_ingests_by_ref_in_the_order_of_refs(self, store: Store) -> None:
        for ref in ("layer-b", "layer-a", "config", "Ü"):
            await begin(store, ref, b"")

        assert ["config", "layer-a", "layer-b", "Ü"] == [status.ref for status in await store.list_statuses()]
        for filters, expected in (
            (["ref==config"], ["config"]),
            (["ref~=^layer"], ["layer-a", "layer-b"]),
            (["ref==config", 'ref=="layer-a"'], ["config", "layer-a"]),
            (["ref==none"], []),
        ):
            assert expected == [status.ref for status in await store.list_statuses(*filters)]

    @pytest.mark.parametrize("text", ["=", "labels.a==", "labels.a~=(", "labels.a=b", "digest==x ", "==x", "a,"])
    async def test_a_filter_that_does_not_parse_is_refused_when_the_iteration_begins(
        self, store: Store, text: str
    ) -> None:
        async with aclosing(store.walk(text)) as walk:
            with pytest.raises(InvalidFilter) as caught:
                await anext(walk)
        assert text == caught.value.text
        with pytest.raises(InvalidFilter):
            await store.list_statuses("ref==a", text)

    @pytest.mark.parametrize(
        ("texts", "bound"),
        [
            (["size>1"] * 1001, "1001 filters, at most 1000"),
            (["ref==" + "a" * 40_000], "40005 bytes together, at most 32768"),
            (["digest~=" + "a" * 2049], "2049 bytes, at most 2048"),
            (["digest~=" + "(" * 101 + ")" * 101], "(100)"),
            ([rf"digest~=\w{{100}}x{number}" for number in range(100)], "at most 4096 KiB"),
        ],
        ids=["number", "length", "expression", "nesting", "compiled"],
    )
    async def test_a_list_of_filters_over_a_bound_is_refused_with_it(
        self, store: Store, texts: list[str], bound: str
    ) -> None:
        with pytest.raises(InvalidFilter) as caught:
            await digests(store.walk(*texts))
        assert bound in caught.value.reason
        assert len(str(caught.value)) < 1000
        with pytest.raises(InvalidFilter):
            await store.list_statuses(*texts)

    async def test_filters_that_take_long_to_compile_leave_the_event_loop_alone(self, store: Store) -> None:
        digest = await keep(store, b"data")
        costly = ["digest~=(?i)(?:" + r"\pL" * 600 + f"){{0}}{number}" for number in range(2)]
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await anyio.sleep(0.001)
                beats += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(beat)
            await anyio.sleep(0.01)
            before = beats
            found = await digests(store.walk(*costly, f"digest=={digest}"))
            between = beats
            await store.list_statuses(*costly)
            after = beats
            tasks.cancel_scope.cancel()

        assert [digest] == found
        # Compiling takes more than a twentieth of a second on any processor.
        assert between - before >= 5
        assert after - between >= 5

    async def test_a_walk_goes_on_when_blobs_come_and_go(self, store: Store) -> None:
        kept = sorted([await keep(store, b"%d" % number) for number in range(20)], key=str)
        found = []
        async for info in store.walk():
            found.append(info.digest)
            await store.put(info.digest.encoded.encode())
            if len(found) == 1:
                await store.delete(kept[0])
        stayed = [digest for digest in found if digest in kept]

        assert kept == stayed
        assert len(set(found)) == len(found)

    async def test_a_walk_may_be_left_early(self, store: Store) -> None:
        for number in range(10):
            await keep(store, b"%d" % number)
        async with aclosing(store.walk()) as walk:
            first = await anext(walk)
        await store.delete(first.digest)

        assert 9 == len(await digests(store.walk()))

    async def test_infos_and_sizes_have_only_stored_blobs(self, store: Store) -> None:
        kept = [await keep(store, b"%d" % number, number=str(number)) for number in range(30)]
        missing = [digest_of(b"missing %d" % number) for number in range(30)]
        found = await store.infos([*missing, *kept, *(str(digest) for digest in kept)])

        assert set(kept) == set(found)
        for digest, info in found.items():
            assert info == await store.info(digest)
        assert {} == await store.infos([])
        assert {digest: info.size for digest, info in found.items()} == await store.sizes(
            [*missing, *kept, str(kept[0])]
        )
        assert {} == await store.sizes([])

    async def test_delete_takes_the_blob_and_its_labels(self, store: Store) -> None:
        digest, other = await keep(store, b"data", a="1"), await keep(store, b"other")
        await store.delete(str(digest))

        for call in (store.info, store.get, store.reader_at, store.delete):
            with pytest.raises(NotFound):
                await call(digest)
        assert [other] == await digests(store.walk())
        assert {} == await store.infos([digest])
        assert {} == (await store.info(await keep(store, b"data"))).labels
