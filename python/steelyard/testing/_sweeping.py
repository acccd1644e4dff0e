"""Which garbage is removed, and when: the grace time, the budget, dry runs, and collections beside other work."""

from __future__ import annotations

from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import anyio
import pytest

from steelyard.collection import CollectDefaults, Collected, Garbage, Kept
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, InvalidArgument
from steelyard.model import Descriptor
from steelyard.testing._collecting import AT_ONCE, FLAT, MANIFEST, collect, document, name, stored
from steelyard.testing._leasing import HOUR
from steelyard.testing._steps import every_wait
from steelyard.testing._values import begin, data_of, digest_of, keep
from steelyard.transfer import write_blob

__all__ = ("SweepingContract",)

SHORT = timedelta(milliseconds=50)
PAUSE = 0.02
"""Seconds between two uses whose order matters: longer than the resolution of file times."""


async def until_old(store: Store, *digests: Digest) -> None:
    """Let a collection find the blobs as garbage, and wait until that was longer ago than `SHORT`."""
    await store.collect(grace=HOUR)
    assert None not in {(await store.why(digest)).since for digest in digests}
    await anyio.sleep(2 * SHORT.total_seconds())


@pytest.mark.anyio
class SweepingContract:
    """The rules of `Store.collect` on the garbage that it finds."""

    async def test_garbage_stays_for_the_grace_time(self, store: Store) -> None:
        digest = await keep(store, b"data")
        for _ in range(2):
            result, gone = await collect(store, grace=None)
            assert (set(), 0, 1, 4) == (gone, result.blobs, result.spared, result.spared_bytes)

        await until_old(store, digest)
        assert set() == (await collect(store, grace=HOUR))[1]
        assert {digest} == (await collect(store, grace=SHORT))[1]

    async def test_the_first_collection_removes_nothing_within_a_grace_time(self, store: Store) -> None:
        await keep(store, b"data")
        await anyio.sleep(2 * SHORT.total_seconds())

        assert set() == (await collect(store, grace=SHORT))[1]

    async def test_a_blob_that_is_stored_again_is_no_longer_garbage(self, store: Store, tmp_path: Any) -> None:
        data = [b"%d" % number for number in range(8)]
        digests = [await keep(store, each) for each in data]
        (tmp_path / "file").write_bytes(data[3])
        await store.leases.create("lease", expires=HOUR)
        leased = store.with_lease("lease")
        await until_old(store, *digests)

        async def committed() -> None:
            async with store.writer("ref") as writer:
                await writer.write(data[4])
                await writer.commit()

        async def many() -> None:
            async with aclosing(store.put_many([data[5]])) as results:
                assert [False] == [one.result.new async for one in results]

        for call in (
            lambda: store.put(data[0]),
            lambda: store.put(data[1], expected=digests[1]),
            lambda: store.writer("other", expected=digests[2]),
            lambda: store.put(tmp_path / "file"),
            committed,
            many,
            lambda: leased.put(data[6]),
        ):
            with suppress(AlreadyExists):
                assert not getattr(await call(), "new", False)
        await store.leases.delete("lease")

        assert [None] * 7 == [(await store.why(digest)).since for digest in digests[:7]]
        assert {digests[7]} == (await collect(store, grace=SHORT))[1]

    async def test_a_blob_that_was_kept_in_between_has_its_whole_grace_time(self, store: Store) -> None:
        digest = await keep(store, b"data")
        await until_old(store, digest)
        await name(store, "name", digest)
        await store.collect(grace=HOUR)
        await store.images.delete("name")

        assert None is (await store.why(digest)).since
        assert set() == (await collect(store, grace=SHORT))[1]

    async def test_a_document_within_its_grace_time_keeps_its_references(self, store: Store) -> None:
        blob = await keep(store, b"blob")
        await until_old(store, blob)
        manifest = await keep(store, document(layers=[blob]))
        assert set() == (await collect(store, grace=SHORT))[1]

        await until_old(store, blob, manifest)
        assert {blob, manifest} == (await collect(store, grace=SHORT))[1]

    async def test_a_blob_that_goes_is_new_when_it_is_stored_again(self, store: Store) -> None:
        digest = await keep(store, b"data", key="value")
        await collect(store)
        result = await store.put(b"data")

        assert (digest, True) == (result.digest, result.new)
        assert {} == (await store.info(digest)).labels
        assert b"data" == await store.get(digest)
        assert set() == (await collect(store, grace=HOUR))[1]

    async def test_a_dry_run_changes_nothing_and_lists_all_garbage(self, store: Store) -> None:
        kept, first, second = [await keep(store, data) for data in (b"kept", b"first", b"second")]
        await name(store, "name", kept)
        before = [info async for info in store.walk()]
        listed: list[Garbage] = []

        result = await store.collect(dry_run=True, on_garbage=listed.append)
        assert (0, 0, 2, 11, True) == (result.blobs, result.bytes, result.spared, result.spared_bytes, result.dry_run)
        assert {(first, 5, None, False), (second, 6, None, False)} == {
            (each.digest, each.size, each.since, each.goes) for each in listed
        }
        assert None is (await store.why(first)).since
        result, gone = await collect(store, dry_run=True)
        assert ({first, second}, 2, 11, 1) == (gone, result.blobs, result.bytes, result.kept.image_names)
        assert before == [info async for info in store.walk()]

        real, gone = await collect(store)
        assert ({first, second}, result) == (gone, Collected(**_fields(real) | {"dry_run": True}))

    async def test_a_blob_with_several_roots_counts_for_the_first(self, store: Store) -> None:
        """Roots that name a blob or a document above it come first, then roots that keep the subject of a document, then flat leases."""
        part, layer = await keep(store, b"part"), await keep(store, b"layer")
        parent = document(layers=[part])
        image = await keep(store, document(layers=[layer]))
        signature = await keep(store, document(subject=image, layers=[layer, part]))
        await name(store, "name", image, MANIFEST)
        await store.leases.create("flat", expires=HOUR, labels={FLAT: "1"})
        await store.leases.create("lease", expires=HOUR)
        await store.leases.add("lease", digests=[signature])
        async with store.writer("ref", expected=digest_of(parent)):
            pass
        above = await keep(store, parent)
        await store.leases.add("flat", digests=[above, image])

        reasons = await store.reasons([image, layer, signature, part, above])
        names = {digest: each.root.name for digest, each in reasons.items() if each.root is not None}
        assert {image: "name", layer: "name", signature: "lease", part: "lease", above: "ref"} == names
        assert (signature, part) == reasons[part].chain
        assert Kept(image_names=2, leases=2, ingests=1) == (await collect(store))[0].kept
        await store.leases.delete("lease")
        found = await store.why(part)
        assert found.root is not None
        assert ("ref", (above, part)) == (found.root.name, found.chain)
        await store.abort("ref")
        found = await store.why(part)
        assert found.root is not None
        assert ("name", (image, signature, part)) == (found.root.name, found.chain)
        assert Kept(image_names=4, leases=1) == (await collect(store))[0].kept

    async def test_a_budget_removes_the_least_recently_used_garbage_first(self, store: Store) -> None:
        blobs = []
        for number in range(5):
            blobs.append(await keep(store, data_of(1000, number)))
            await anyio.sleep(PAUSE)
        await name(store, "name", blobs[0])

        assert set() == (await collect(store, max_bytes=5000))[1]
        result, gone = await collect(store, max_bytes=3500)
        assert (set(blobs[1:3]), 2, 2000, 0) == (gone, result.spared, result.spared_bytes, result.missed_bytes)
        result, gone = await collect(store, max_bytes=999)
        assert (set(blobs[3:]), 1) == (gone, result.missed_bytes)

    async def age(self, store: Store, *digests: Digest) -> None:
        """Make the last use of blobs so old that the store records the next one. A store that records each use need not override this."""

    async def test_the_most_recently_used_garbage_is_removed_last(self, store: Store) -> None:
        blobs = []
        for number in range(5):
            blobs.append(await keep(store, data_of(1000, number)))
            await anyio.sleep(PAUSE)
        await self.age(store, *blobs)
        uses = (
            lambda: store.put(data_of(1000, 2)),
            lambda: store.get(blobs[0]),
            lambda: self._read(store, blobs[1]),
            lambda: store.infos(blobs),
        )
        for use in uses:
            await use()
            await anyio.sleep(PAUSE)
        for left, gone in ((4000, 3), (3000, 4), (2000, 2), (1000, 0)):
            assert {blobs[gone]} == (await collect(store, max_bytes=left))[1]

    async def _read(self, store: Store, digest: Digest) -> None:
        async with store.reader_at(digest) as reader:
            await reader.read_at(0, 1)

    async def test_a_document_that_was_used_keeps_its_parts_in_a_budget(self, store: Store) -> None:
        parts = [await keep(store, data_of(1000, number)) for number in range(3)]
        manifest = await keep(store, document(layers=parts[:1]))
        await self.age(store, *parts, manifest)
        await store.get(manifest)
        size = sum([info.size async for info in store.walk()])

        assert set(parts[1:]) == (await collect(store, max_bytes=size - 2000))[1]
        assert {manifest} == (await collect(store, max_bytes=size - 2001))[1]

    async def test_a_budget_does_not_shorten_the_grace_time(self, store: Store) -> None:
        digest = await keep(store, b"data")
        result, gone = await collect(store, grace=None, max_bytes=1)
        assert (set(), 3) == (gone, result.missed_bytes)

        result, gone = await collect(store, max_bytes=1)
        assert ({digest}, 0) == (gone, result.missed_bytes)

    async def test_a_document_goes_before_the_blobs_that_it_names(self, store: Store) -> None:
        parts = [await keep(store, data_of(1000, number)) for number in range(3)]
        await anyio.sleep(PAUSE)
        inner = await keep(store, document(layers=parts))
        await anyio.sleep(PAUSE)
        outer = await keep(store, document(manifests=[inner]))
        size = sum([info.size async for info in store.walk()])

        assert {outer} == (await collect(store, max_bytes=size - 1))[1]
        assert {inner} == (await collect(store, max_bytes=3000))[1]
        assert 1 == (await collect(store, max_bytes=2000))[0].blobs

    async def test_impossible_options_are_refused(self, store: Store) -> None:
        await keep(store, b"data")
        for options in ({"grace": -SHORT}, {"ingest_age": -SHORT}, {"max_bytes": -1}, {"max_bytes": 1 << 63}):
            with pytest.raises(InvalidArgument):
                await store.collect(**options)
        for ages in ({"grace": -SHORT}, {"ingest_age": -SHORT}):
            with pytest.raises(InvalidArgument):
                await store.set_collect_defaults(**ages)

        assert 1 == len(await stored(store))
        assert CollectDefaults() == await store.collect_defaults()

    async def test_a_collection_without_times_uses_the_defaults_of_the_store(self, store: Store) -> None:
        assert CollectDefaults() == await store.collect_defaults()
        await keep(store, b"garbage")
        await begin(store, "ref", b"da")
        result = await store.collect()
        assert (0, 0) == (result.blobs, result.ingests)

        assert CollectDefaults(grace=SHORT) == await store.set_collect_defaults(grace=SHORT)
        both = CollectDefaults(grace=SHORT, ingest_age=AT_ONCE)
        assert both == await store.set_collect_defaults(ingest_age=AT_ONCE)
        assert both == await store.set_collect_defaults() == await store.collect_defaults()

        result, gone = await collect(store, grace=HOUR, ingest_age=HOUR)
        assert (set(), 0) == (gone, result.ingests)
        await anyio.sleep(2 * SHORT.total_seconds())
        assert 1 == (await store.collect(dry_run=True)).blobs
        result = await store.collect()
        assert (1, 1) == (result.blobs, result.ingests)

    async def test_a_callback_that_fails_ends_the_collection(self, store: Store) -> None:
        kept = await keep(store, b"kept")
        await name(store, "name", kept)
        for number in range(5):
            await keep(store, b"%d" % number)

        def fail(_: object) -> None:
            raise ZeroDivisionError

        for callback in ("on_garbage", "on_progress"):
            with pytest.raises(ZeroDivisionError):
                await store.collect(grace=AT_ONCE, **{callback: fail})  # type: ignore[arg-type]
        await collect(store)
        assert {kept} == await stored(store)

    async def test_a_cancelled_collection_leaves_garbage_only(self, store: Store) -> None:
        blob = await keep(store, b"blob")
        manifest = await keep(store, document(layers=[blob]))
        await name(store, "name", manifest, MANIFEST)

        async def run(step: int) -> None:
            async with aclosing(store.put_many(data_of(10, (step, number)) for number in range(5))) as results:
                assert 5 == len([one async for one in results])
            await store.collect(grace=AT_ONCE)

        async for _ in every_wait(run):
            assert {blob, manifest} <= await stored(store)
        await collect(store)
        assert {blob, manifest} == await stored(store)

    async def test_a_cancelled_question_changes_nothing(self, store: Store) -> None:
        digest = await keep(store, b"data")

        async def ask(step: int) -> None:
            del step
            await store.why(digest)

        async for _ in every_wait(ask):
            assert {digest} == await stored(store)

    async def test_blobs_reported_to_writers_stay_while_others_collect(self, store: Store) -> None:
        """Each writer stores the same blobs again and again, and often finds them as garbage that its earlier rounds left."""
        done = anyio.Event()

        async def write(writer: int) -> None:
            layers = [data_of(100, number) for number in range(4)]
            for number in range(15):
                async with store.lease() as leased:
                    digests = [(await leased.put(layers[0])).digest]
                    digests.append((await write_blob(leased, layers[1], digest_of(layers[1]))).digest)
                    async with aclosing(leased.put_many(layers[2:])) as results:
                        digests += [one.result.digest async for one in results]
                    manifest = (await leased.put(document(layers=digests, number=(number + writer) % 3))).digest
                    assert {*digests, manifest} == (await leased.infos([*digests, manifest])).keys()
                    await leased.images.assign({f"{writer}": Descriptor(digest=manifest)}, overwrite=True)
                assert {*digests, manifest} == (await store.infos([*digests, manifest])).keys()
                if number % 2:
                    await store.images.delete(f"{writer}")

        async def collector() -> None:
            while not done.is_set():
                await store.collect(grace=AT_ONCE)
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collector)
            async with anyio.create_task_group() as writers:
                for writer in range(4):
                    writers.start_soon(write, writer)
            done.set()

        before = await stored(store)
        for image in await store.images.list():
            await store.images.delete(image.name)
        await collect(store)
        assert before
        assert set() == await stored(store)


def _fields(result: Collected) -> dict[str, Any]:
    return {field: getattr(result, field) for field in result.__struct_fields__}
