"""Roots and references: the blobs that a garbage collection keeps."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest

from steelyard.collection import Collected, Garbage, Kept
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import NotFound
from steelyard.model import Descriptor, Labels
from steelyard.testing._leasing import HOUR
from steelyard.testing._values import begin, digest_of, keep, now

__all__ = ("AT_ONCE", "CollectingContract", "collect", "document", "name", "stored")

AT_ONCE = timedelta(0)
"""No grace time."""

ROOT = "containerd.io/gc.root"
EXPIRE = "containerd.io/gc.expire"
FLAT = "containerd.io/gc.flat"
REFERENCE = "containerd.io/gc.ref.content"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"

CHILDREN = int(os.environ.get("STEELYARD_CONTRACT_CHILDREN", "100000"))
"""How many blobs the largest tree of documents names; a long run of the suite uses a million."""


def document(**fields: Any) -> bytes:
    """Return a JSON document. Each digest in its fields becomes a descriptor."""

    def described(value: Any) -> Any:
        if isinstance(value, Digest):
            return {"digest": str(value)}
        return [described(each) for each in value] if isinstance(value, list) else value

    return msgspec.json.encode({"schemaVersion": 2} | {key: described(value) for key, value in fields.items()})


async def stored(store: Store) -> set[Digest]:
    """Return all blobs of a store."""
    return {info.digest async for info in store.walk()}


async def collect(store: Store, **options: Any) -> tuple[Collected, set[Digest]]:
    """Collect, without a grace time unless the options have one; return the result and the removed blobs.

    Check that the result agrees with the reported blobs and with the blobs that are gone.
    """
    before = {info.digest: info.size async for info in store.walk()}
    reported: list[Garbage] = []
    result = await store.collect(**({"grace": AT_ONCE} | options), on_garbage=reported.append)
    after = await stored(store)
    gone = {each.digest for each in reported if each.goes}
    assert gone == before.keys() - after or result.dry_run
    assert len(reported) == len({each.digest for each in reported})
    assert (result.blobs, result.bytes) == (len(gone), sum(before[digest] for digest in gone))
    assert all(before[each.digest] == each.size for each in reported)
    assert len(before) == result.blobs + result.spared + result.kept.blobs
    return result, gone


async def name(store: Store, text: str, digest: Digest, media_type: str | None = None, **labels: str) -> None:
    """Give a blob an image name."""
    await store.images.create(text, Descriptor(digest=digest, media_type=media_type), labels=labels)


def after(time: timedelta) -> str:
    """Return the time that lies `time` in the future, as text."""
    return (now() + time).isoformat()


async def chain(store: Store, count: int, start: str = "") -> list[Digest]:
    """Store blobs, each of which names the next one in a label; return their digests."""
    found: list[Digest] = []
    for number in reversed(range(count)):
        labels = {REFERENCE: str(found[-1])} if found else {}
        found.append(await keep(store, f"{start}{number}".encode(), **labels))
    return found[::-1]


@pytest.mark.anyio
class CollectingContract:
    """The rules of `steelyard.collection`: roots and references."""

    async def test_a_blob_that_no_root_keeps_is_removed(self, store: Store) -> None:
        first, second = await keep(store, b"first"), await keep(store, b"second", key="value")
        result, gone = await collect(store)

        assert {first, second} == gone
        assert (2, 11, 0, Kept()) == (result.blobs, result.bytes, result.spared, result.kept)
        assert not result.dry_run
        with pytest.raises(NotFound):
            await store.info(first)
        assert (await store.put(b"first")).new

    async def test_an_empty_store_has_no_garbage(self, store: Store) -> None:
        assert Collected() == await store.collect()

    async def test_an_image_name_keeps_its_target_until_it_is_deleted(self, store: Store) -> None:
        target, other = await keep(store, b"target"), await keep(store, b"other")
        await name(store, "name", target)
        result, gone = await collect(store)
        assert ({other}, Kept(image_names=1)) == (gone, result.kept)

        await store.images.delete("name")
        assert {target} == (await collect(store))[1]

    async def test_an_expired_name_keeps_nothing(self, store: Store) -> None:
        past, future, malformed = [await keep(store, text) for text in (b"past", b"future", b"malformed")]
        await name(store, "past", past, **{EXPIRE: after(-HOUR)})
        await name(store, "future", future, **{EXPIRE: after(HOUR)})
        await name(store, "malformed", malformed, **{EXPIRE: "tomorrow"})
        result, gone = await collect(store)

        assert {past} == gone
        assert any("malformed" in warning and "tomorrow" in warning for warning in result.warnings)
        assert "past" in {image.name for image in await store.images.list()}

    async def test_a_label_makes_a_blob_a_root(self, store: Store) -> None:
        kept = await keep(store, b"kept", **{ROOT: "2026-11-28T00:00:00Z"})
        future = await keep(store, b"future", **{ROOT: "1", EXPIRE: after(HOUR)})
        await keep(store, b"past", **{ROOT: "1", EXPIRE: after(-HOUR)})
        await keep(store, b"empty", **{ROOT: ""})
        await keep(store, b"unrooted", **{EXPIRE: after(HOUR)})
        result, _ = await collect(store)
        assert ({kept, future}, Kept(labels=2)) == (await stored(store), result.kept)

        info = await store.info(kept)
        await store.update(msgspec.structs.replace(info, labels=Labels()), f"labels.{ROOT}")
        assert {kept} == (await collect(store))[1]

    async def test_a_lease_keeps_its_blobs_and_their_references_until_it_ends(self, store: Store) -> None:
        blobs = await chain(store, 3)
        await store.leases.create("lease", expires=HOUR)
        await store.leases.add("lease", digests=[blobs[0], digest_of(b"absent")])
        result, gone = await collect(store)
        assert (set(), Kept(leases=3)) == (gone, result.kept)

        await store.leases.delete("lease")
        assert set(blobs) == (await collect(store))[1]

    async def test_an_expired_lease_keeps_nothing(self, store: Store) -> None:
        digest = await keep(store, b"data")
        duration = timedelta(milliseconds=50)
        while True:
            lease = await store.leases.create(expires=duration)
            with suppress(NotFound):
                await store.leases.add(lease.id, digests=[digest])
                break
            duration *= 2  # the lease expired before `add`
        while lease.id in {each.id for each in await store.leases.list()}:  # noqa: ASYNC110  # a clock notifies no task
            await anyio.sleep(duration.total_seconds() / 4)

        assert {digest} == (await collect(store))[1]

    async def test_a_flat_lease_does_not_keep_the_references_of_its_blobs(self, store: Store) -> None:
        blobs, rooted = await chain(store, 3), await chain(store, 2, "rooted")
        await store.leases.create("lease", expires=HOUR, labels={FLAT: "true"})
        await store.leases.add("lease", digests=[blobs[0], rooted[0]])
        await name(store, "name", rooted[0])

        assert set(blobs[1:]) == (await collect(store))[1]

    async def test_a_blob_stored_under_a_lease_stays_until_the_lease_ends(self, store: Store) -> None:
        old = await keep(store, b"old")
        async with store.lease() as leased:
            new = await keep(leased, b"new")
            assert not (await leased.put(b"old")).new
            assert set() == (await collect(store))[1]
            assert set() == (await collect(leased))[1]

        assert {old, new} == (await collect(store))[1]

    async def test_an_ingest_keeps_the_blob_that_it_expects(self, store: Store) -> None:
        async with store.writer("ref", expected=digest_of(b"data")) as writer:
            await writer.write(b"da")
        digest = await keep(store, b"data")
        result, gone = await collect(store)
        assert (set(), Kept(ingests=1)) == (gone, result.kept)

        await store.abort("ref")
        assert {digest} == (await collect(store))[1]

    async def test_abandoned_ingests_go_unless_a_writer_or_a_lease_holds_them(self, store: Store) -> None:
        await store.leases.create("lease", expires=HOUR)
        await begin(store.with_lease("lease"), "leased", b"data")
        await begin(store, "abandoned", b"data")
        async with store.writer("held") as writer:
            await writer.write(b"data")
            assert 0 == (await store.collect()).ingests
            assert 1 == (await store.collect(ingest_age=AT_ONCE, dry_run=True)).ingests
            assert {"abandoned", "held", "leased"} == {each.ref for each in await store.list_statuses()}
            assert 1 == (await store.collect(ingest_age=AT_ONCE)).ingests
            assert {"held", "leased"} == {each.ref for each in await store.list_statuses()}
            assert digest_of(b"data") == (await writer.commit()).digest

    async def test_a_manifest_and_an_index_keep_their_references(self, store: Store) -> None:
        blobs = [await keep(store, b"%d" % number) for number in range(6)]
        manifest = await keep(store, document(config=blobs[0], layers=[blobs[1], blobs[2], digest_of(b"absent")]))
        docker = await keep(store, document(mediaType=DOCKER, config=blobs[0], layers=[blobs[3]]))
        artifact = await keep(store, document(blobs=[blobs[4]]))
        inner = await keep(store, document(manifests=[manifest, artifact]))
        outer = await keep(store, document(mediaType=INDEX, manifests=[inner, docker]))
        await name(store, "name", outer, INDEX)
        result, gone = await collect(store)
        assert ({blobs[5]}, Kept(image_names=10)) == (gone, result.kept)
        assert () == result.warnings

        await store.images.delete("name")
        assert 10 == (await collect(store))[0].blobs

    async def test_an_image_keeps_its_referrers_and_they_keep_the_image(self, store: Store) -> None:
        image = await keep(store, document(layers=[await keep(store, b"layer")]))
        signature = await keep(store, document(subject=image, layers=[await keep(store, b"signature")]))
        note = await keep(store, document(subject=signature, manifests=[]))
        other = await keep(store, document(subject=digest_of(b"absent"), layers=[]))
        for root in (image, note):
            await name(store, "name", root, MANIFEST)
            gone = (await collect(store))[1]
            assert gone <= {other}
            assert 5 == len(await stored(store))
            await store.images.delete("name")

        assert 5 == (await collect(store))[0].blobs

    async def test_a_name_keeps_the_signature_of_an_image_that_is_missing(self, store: Store) -> None:
        """For example, the image was damaged and moved aside, and will be stored again later."""
        image = document(layers=[await keep(store, b"layer")])
        signature = await keep(store, document(subject=digest_of(image), layers=[await keep(store, b"signature")]))
        await name(store, "name", digest_of(image), MANIFEST)
        result, gone = await collect(store)

        assert {digest_of(b"layer")} == gone
        assert Kept(image_names=2) == result.kept
        assert signature in await stored(store)

    async def test_a_flat_lease_keeps_no_signature(self, store: Store) -> None:
        layer = await keep(store, b"layer")
        image = await keep(store, document(layers=[layer]))
        signature = await keep(store, document(subject=image, layers=[]))
        await store.leases.create("lease", expires=HOUR, labels={FLAT: "1"})
        await store.leases.add("lease", digests=[image])
        assert {layer, signature} == (await collect(store))[1]

    async def test_a_signature_that_was_deleted_keeps_nothing(self, store: Store) -> None:
        image, part = await keep(store, document(layers=[])), await keep(store, b"part")
        signature = await keep(store, document(subject=image, layers=[part]))
        await name(store, "name", image, MANIFEST)
        assert set() == (await collect(store))[1]

        await store.delete(signature)
        assert {part} == (await collect(store))[1]

    async def test_labels_refer_to_blobs(self, store: Store) -> None:
        blobs = [await keep(store, b"%d" % number) for number in range(4)]
        keys = (REFERENCE, f"{REFERENCE}.l.0", f"{REFERENCE}/x", "containerd.io/gc.ref.snapshot.overlayfs")
        await keep(store, b"root", **{ROOT: "1"}, **{key: str(blob) for key, blob in zip(keys, blobs, strict=True)})

        assert {blobs[3]} == (await collect(store))[1]

    async def test_an_invalid_reference_is_reported_and_keeps_nothing(self, store: Store) -> None:
        good, bad = await keep(store, b"good"), await keep(store, b"bad")
        labels = {f"{REFERENCE}.a": f"{bad}0", f"{REFERENCE}.b": str(good), f"{REFERENCE}.c": ""}
        root = await keep(store, b"root", **{ROOT: "1"}, **labels)
        invalid = {"digest": "sha256:00"}
        manifest = await keep(store, document(layers=[invalid, good], config=invalid, subject=invalid))
        await name(store, "name", manifest, MANIFEST)
        result, gone = await collect(store)

        assert {bad} == gone
        for digest, reason in ((root, f"{REFERENCE}.a"), (root, f"{REFERENCE}.c"), (manifest, "invalid")):
            assert any(str(digest) in warning and reason in warning for warning in result.warnings), result.warnings

    async def test_a_malformed_document_is_reported_and_keeps_nothing(self, store: Store) -> None:
        blob = await keep(store, b"blob")
        broken = document(layers=[blob])[:-1]
        named, other, text = [await keep(store, data) for data in (broken, broken + b" ", b"no JSON")]
        index = document(manifests=[{"digest": str(other), "mediaType": MANIFEST, "size": 1}])
        await name(store, "name", named, MANIFEST)
        await name(store, "index", await keep(store, index), INDEX)
        await name(store, "text", text, MANIFEST)
        result, gone = await collect(store)

        assert {blob} == gone
        assert all(any(str(each) in warning for warning in result.warnings) for each in (named, other, text))

    async def test_other_json_names_nothing(self, store: Store) -> None:
        blob = await keep(store, b"blob")
        config = {"config": {"Labels": {"digest": str(blob)}}, "rootfs": {"diff_ids": [str(blob)]}, "other": [blob]}
        await name(store, "name", await keep(store, document(**config)))
        result, gone = await collect(store)

        assert ({blob}, ()) == (gone, result.warnings)

    async def test_a_name_keeps_the_references_of_its_missing_document(self, store: Store) -> None:
        blob = await keep(store, b"blob")
        manifest = await keep(store, document(layers=[blob]))
        await name(store, "name", manifest, MANIFEST)
        await collect(store)
        await store.delete(manifest)

        assert set() == (await collect(store))[1]
        assert (await store.put(document(layers=[blob]))).new
        assert set() == (await collect(store))[1]

    async def test_a_blob_that_names_itself_and_a_cycle_go_and_stay_as_a_whole(self, store: Store) -> None:
        own = await keep(store, b"own", **{REFERENCE: str(digest_of(b"own"))})
        texts = [b"cycle %d" % number for number in range(5)]
        nexts = [digest_of(text) for text in [*texts[1:], texts[0]]]
        cycle = [await keep(store, text, **{REFERENCE: str(each)}) for text, each in zip(texts, nexts, strict=True)]
        await name(store, "name", cycle[3])
        assert {own} == (await collect(store))[1]

        await store.images.delete("name")
        assert set(cycle) == (await collect(store))[1]

    async def test_a_long_chain_is_followed(self, store: Store) -> None:
        blobs = await chain(store, 300)
        await name(store, "name", blobs[0])
        assert set() == (await collect(store))[1]

        await store.images.delete("name")
        assert set(blobs) == (await collect(store))[1]

    async def test_a_tree_of_documents_may_name_very_many_blobs(self, store: Store) -> None:
        blobs = [await keep(store, b"%d" % number) for number in range(3)]
        names = [digest_of(b"%d" % number) for number in range(CHILDREN)]
        size = 40_000
        parts = [await keep(store, document(layers=names[at : at + size])) for at in range(0, CHILDREN, size)]
        await keep(store, b"garbage")
        await name(store, "name", await keep(store, document(manifests=parts)), INDEX)
        result, gone = await collect(store)

        assert {digest_of(b"garbage")} == gone
        assert Kept(image_names=len(blobs) + len(parts) + 1) == result.kept
        assert blobs[2] == (await store.why(blobs[2])).chain[-1]

    async def test_why_names_the_root_and_the_chain(self, store: Store) -> None:
        layer, leased, expected = [await keep(store, data) for data in (b"layer", b"leased", b"x")]
        manifest = await keep(store, document(layers=[layer]))
        index = await keep(store, document(manifests=[manifest]), **{ROOT: "1"})
        lease = await store.leases.create("lease", expires=HOUR)
        await store.leases.add("lease", digests=[leased, layer])
        await store.delete(expected)
        async with store.writer("ref", expected=expected) as writer:
            await writer.write(b"y")
        await keep(store, b"x")

        reasons = await store.reasons([layer, str(leased), expected, digest_of(b"absent")])
        assert {layer, leased, expected} == set(reasons)
        for digest, kind, root, until, blobs in (
            (layer, "label", str(index), None, (index, manifest, layer)),
            (leased, "lease", "lease", lease.expires_at, (leased,)),
            (expected, "ingest", "ref", None, (expected,)),
        ):
            found = reasons[digest]
            assert found.root is not None
            assert (digest, kind, root) == (found.digest, found.root.kind, found.root.name)
            assert (until, blobs, None) == (found.root.until, found.chain, found.since)
        await name(store, "name", manifest, MANIFEST)
        by_name = await store.why(layer)
        assert by_name.root is not None
        assert ("image name", (manifest, layer)) == (by_name.root.kind, by_name.chain)
        with pytest.raises(NotFound):
            await store.why(digest_of(b"absent"))

    async def test_why_returns_the_time_since_which_a_blob_is_garbage(self, store: Store) -> None:
        digest = await keep(store, b"data")
        found = await store.why(digest)
        assert (None, (), None) == (found.root, found.chain, found.since)

        before = now()
        await store.collect(grace=HOUR)
        since = (await store.why(digest)).since
        assert since is not None
        assert before - timedelta(seconds=1) <= since <= now() + timedelta(seconds=1)

    async def test_an_open_blob_can_be_read_after_its_collection(self, store: Store) -> None:
        digest = await keep(store, b"data")
        async with store.reader_at(digest) as reader:
            assert {digest} == (await collect(store))[1]
            assert b"data" == await reader.read_at(0, 4)
