"""Walking, checking and counting images."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.make_images import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    encode,
    index_of,
    keep,
    keep_two_platforms,
    manifest_of,
    named,
    root_of,
    target_of,
)

from steelyard import DataCorrupt, Descriptor, InvalidArgument, LocalStore, MemoryStore, NotFound, Store
from steelyard.errors import IncompleteImage, InvalidDocument, LimitExceeded, UnsupportedAlgorithm
from steelyard.images import (
    Limits,
    Node,
    OCIDescriptor,
    Platform,
    Platforms,
    check,
    children,
    describe,
    read_document,
    usage,
    walk_image,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "local"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    async with LocalStore(tmp_path / "store", durability="process-crash") as local:
        yield local


async def walked(store: Store, root: OCIDescriptor, **options: Any) -> list[Node]:
    async with aclosing(walk_image(store, root, **options)) as walk:
        return [node async for node in walk]


def kinds(nodes: list[Node]) -> list[str]:
    return [node.descriptor.kind for node in nodes]


async def test_an_image_is_walked_level_by_level_each_blob_once(store: Store) -> None:
    index, blobs = await keep_two_platforms(store)
    nodes = await walked(store, root_of(index))

    assert ["index", "manifest", "manifest", "config", "layer", "layer", "config", "layer"] == kinds(nodes)
    assert {named(data)["digest"] for data in blobs} == {node.descriptor.digest for node in nodes}
    assert [0, 1, 1, 2, 2, 2, 2, 2] == [node.depth for node in nodes]
    assert [None, "linux/amd64", "linux/arm64"] == [node.platform and str(node.platform) for node in nodes[:3]]
    assert ["linux/amd64"] * 3 + ["linux/arm64"] * 2 == [str(node.platform) for node in nodes[3:]]
    assert [None, index] == [nodes[0].parent, nodes[0].document and nodes[0].document.raw]
    assert nodes[1].descriptor == nodes[3].parent == nodes[5].parent
    assert nodes == await walked(store, root_of(index), concurrency=1)


async def test_children_are_what_a_document_names(store: Store) -> None:
    manifest = manifest_of([b"1", b"2"])
    await keep(store, manifest)
    found = await children(store, root_of(manifest, MANIFEST))

    assert [CONFIG, LAYER, LAYER] == [child.media_type for child in found]
    assert () == await children(store, found[1])


async def test_of_an_index_only_the_wanted_platforms_are_walked(store: Store) -> None:
    index, _ = await keep_two_platforms(store)
    nodes = await walked(store, root_of(index), platforms=Platforms("linux/aarch64"))

    assert ["index", "manifest", "config", "layer", "layer"] == kinds(nodes)
    assert {"linux/arm64"} == {str(node.platform) for node in nodes[1:]}
    assert ["index"] == kinds(await walked(store, root_of(index), platforms=Platforms("linux/s390x")))
    both = Platforms("linux/arm64", "linux/amd64")
    assert await walked(store, root_of(index)) == await walked(store, root_of(index), platforms=both)


async def test_what_says_no_platform_is_for_all(store: Store) -> None:
    manifest = manifest_of([b"1"])
    index = index_of((manifest, None))
    await keep(store, manifest, index)

    assert 4 == len(await walked(store, root_of(index), platforms=Platforms("linux/s390x")))


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        (["linux/arm/v7"], "linux/arm/v6 linux/arm/v7 linux/arm/v5", "linux/arm/v7"),
        (["linux/arm/v7"], "linux/arm/v5 linux/arm/v6", "linux/arm/v6"),
        (["linux/arm64"], "linux/arm/v7 linux/arm/v6 linux/amd64", "linux/arm/v7"),
        (["linux/arm64"], "linux/arm64 linux/arm/v8", "linux/arm64"),
        (["linux/arm/v6"], "linux/arm/v7", ""),
        (["linux/amd64"], "linux/386 windows/amd64", "linux/386"),
        (["linux/amd64/v3"], "linux/amd64 linux/amd64/v2 linux/amd64/v4", "linux/amd64/v2"),
        (["linux/amd64", "linux/arm64"], "linux/arm64 linux/amd64 linux/s390x", "linux/arm64 linux/amd64"),
        (["linux/amd64"], "linux/amd64 unknown/unknown linux/amd64", "linux/amd64 linux/amd64"),
    ],
)
def test_the_best_that_runs_is_chosen(wanted: list[str], offered: str, chosen: str) -> None:
    def entries(texts: str) -> tuple[OCIDescriptor, ...]:
        return tuple(
            msgspec.structs.replace(root_of(b"", MANIFEST), platform=Platform.parse(text)) for text in texts.split()
        )

    platforms = Platforms(*wanted)
    assert entries(chosen) == platforms.choose(entries(offered))
    unmatched = platforms.unmatched(Platform.parse(text) for text in offered.split())
    assert (() if chosen else (Platform.parse(wanted[0]),)) == unmatched


def test_strictly_only_the_very_platform_counts() -> None:
    arm = Platform.parse("linux/arm/v6")

    assert Platforms("linux/arm/v7").matches(arm)
    assert not Platforms("linux/arm/v7", strict=True).matches(arm)
    with pytest.raises(InvalidArgument):
        Platforms()


async def test_a_missing_document_raises_or_is_reported(store: Store) -> None:
    index, _ = await keep_two_platforms(store)
    lost = (await walked(store, root_of(index)))[1].descriptor
    await store.delete(lost.digest)

    with pytest.raises(NotFound):
        await walked(store, root_of(index))
    nodes = await walked(store, root_of(index), skip_missing=True)
    assert [lost] == [node.descriptor for node in nodes if node.missing]
    assert ["index", "manifest", "manifest", "config", "layer", "layer"] == kinds(nodes)


async def test_a_check_lists_what_is_absent_with_parent_and_platform(store: Store) -> None:
    index, _ = await keep_two_platforms(store, "demo")
    assert (await check(store, "demo")).complete
    await store.delete(named(b"layer of arm64")["digest"])
    found = await check(store, "demo")

    assert not found.complete
    (absent,) = found.absent
    assert (named(b"layer of arm64")["digest"], "linux/arm64") == (absent.descriptor.digest, str(absent.platform))
    assert 7 == len(found.present)
    with pytest.raises(IncompleteImage) as caught:
        found.require()
    assert absent.parent is not None
    assert ("demo", ((absent.descriptor.blob, absent.parent.blob, "linux/arm64"),)) == (
        caught.value.name,
        caught.value.absent,
    )
    assert (await check(store, "demo", platforms=Platforms("linux/amd64"))).complete
    assert (await check(store, target_of(index), platforms=Platforms("linux/amd64"))).complete


async def test_a_platform_that_an_image_has_nothing_for_is_reported(store: Store) -> None:
    await keep_two_platforms(store, "demo")
    found = await check(store, "demo", platforms=Platforms("linux/s390x", "linux/amd64"))

    assert ["linux/s390x"] == [str(platform) for platform in found.unmatched]
    assert not found.complete
    found.require()


async def test_a_blob_of_another_size_than_the_image_says_is_absent(store: Store) -> None:
    manifest = encode({"schemaVersion": 2, "config": named(b"{}", CONFIG), "layers": [named(b"layer", size=6)]})
    await keep(store, b"{}", b"layer", manifest)

    assert [named(b"layer")["digest"]] == [
        node.descriptor.digest for node in (await check(store, target_of(manifest, MANIFEST))).absent
    ]


async def test_an_absent_root_is_all_that_is_known(store: Store) -> None:
    for target in (target_of(b"gone"), Descriptor(digest=target_of(b"gone").digest)):
        found = await check(store, target)
        assert ((), 1) == (found.present, len(found.absent))
    with pytest.raises(NotFound):
        await check(store, "no such name")


async def test_usage_counts_each_blob_once(store: Store) -> None:
    _, blobs = await keep_two_platforms(store, "demo")
    found = await usage(store, "demo")

    assert (len(blobs), sum(map(len, blobs)), 0, 0) == (found.blobs, found.size, found.absent, found.absent_size)
    await store.delete(named(b"shared layer")["digest"])
    assert (1, len(b"shared layer")) == ((await usage(store, "demo")).absent, (await usage(store, "demo")).absent_size)


async def test_embedded_documents_need_no_store(store: Store) -> None:
    manifest = manifest_of([b"1"])
    entry = named(manifest, MANIFEST, data=base64.b64encode(manifest).decode())
    false = named(manifest, MANIFEST, data=base64.b64encode(b"x" + manifest[1:]).decode())
    index = encode({"schemaVersion": 2, "manifests": [entry]})
    await keep(store, index)

    assert ["index", "manifest", "config", "layer"] == kinds(await walked(store, root_of(index)))
    with pytest.raises(NotFound):
        await read_document(store, msgspec.convert(false, OCIDescriptor))


async def test_limits_end_a_walk(store: Store) -> None:
    data, media_type = manifest_of([b"%d" % number for number in range(8)]), MANIFEST
    stored = [data]
    for _ in range(17):
        data, media_type = index_of((data, None), media_type=media_type), INDEX
        stored.append(data)
    await keep(store, *stored)

    assert 10 == len(await walked(store, root_of(stored[0], MANIFEST)))
    assert 26 == len(await walked(store, root_of(stored[16])))
    for data, limits, name in (
        (stored[17], Limits(), "nesting"),
        (stored[1], Limits(nodes=10), "nodes"),
        (stored[1], Limits(json_bytes=len(stored[1]) - 1), "json_bytes"),
    ):
        with pytest.raises(LimitExceeded) as caught:
            await walked(store, root_of(data), limits=limits)
        assert name == caught.value.limit
    assert 11 == len(await walked(store, root_of(stored[1]), limits=Limits(nodes=11)))


async def test_a_blob_that_contradicts_its_descriptor_is_not_read_as_a_document(store: Store) -> None:
    manifest = manifest_of([b"1"])
    huge = b"x" * (5 << 20)
    await keep(store, manifest, huge)

    for wrong in (
        named(manifest, MANIFEST, size=len(manifest) + 1),
        named(manifest, INDEX),
        named(manifest, "application/vnd.docker.distribution.manifest.v2+json"),
    ):
        with pytest.raises(InvalidDocument):
            await walked(store, msgspec.convert(wrong, OCIDescriptor))
    for size in (10, 5 << 20):
        with pytest.raises(LimitExceeded):
            await walked(store, msgspec.convert(named(huge, MANIFEST, size=size), OCIDescriptor))
    with pytest.raises(UnsupportedAlgorithm):
        await walked(store, OCIDescriptor(media_type=MANIFEST, digest="md5:" + "0" * 32, size=1))


async def test_a_blob_is_not_a_document_here_and_a_layer_there(store: Store) -> None:
    inner = manifest_of([b"1"])
    for second in (named(inner, LAYER), named(inner, MANIFEST, size=1)):
        index = encode({"schemaVersion": 2, "manifests": [named(inner, MANIFEST), second]})
        await keep(store, inner, index)
        with pytest.raises(InvalidDocument) as caught:
            await walked(store, root_of(index))
        assert root_of(index).digest == caught.value.name


async def test_damage_is_not_taken_for_a_malformed_document(tmp_path: Path) -> None:
    manifest = manifest_of([b"1"])
    async with LocalStore(tmp_path) as store:
        await keep(store, manifest)
        blob = tmp_path / "blobs" / "sha256" / root_of(manifest).digest.removeprefix("sha256:")
        blob.chmod(0o644)
        for damaged in (manifest[:-1] + b" ", manifest[:-1], manifest + b" "):
            blob.write_bytes(damaged)
            with pytest.raises(DataCorrupt):
                await walked(store, root_of(manifest, MANIFEST))


async def test_a_root_is_described_by_what_it_is(store: Store) -> None:
    index, _ = await keep_two_platforms(store)
    plain = encode({"schemaVersion": 2, "config": named(b"{}", CONFIG), "layers": []})
    bare = encode({"schemaVersion": 2, "manifests": []})
    await keep(store, plain, bare, b"no JSON", b"[]")

    for data, media_type in (
        (index, INDEX),
        (plain, MANIFEST),
        (bare, INDEX),
        (b"no JSON", "application/octet-stream"),
        (b"[]", "application/octet-stream"),
    ):
        assert root_of(data, media_type) == await describe(store, root_of(data).digest)
    given = Descriptor(digest=root_of(b"gone").blob, size=3, media_type=MANIFEST)
    assert MANIFEST == (await describe(store, given)).media_type
    with pytest.raises(NotFound):
        await describe(store, given.digest)
    with pytest.raises(InvalidDocument):
        await describe(store, Descriptor(digest=root_of(index).blob, size=3))


async def test_a_walk_may_be_left_early_and_wants_some_concurrency(store: Store) -> None:
    index, _ = await keep_two_platforms(store)
    async with aclosing(walk_image(store, root_of(index))) as walk:
        assert "index" == (await anext(walk)).descriptor.kind
    with pytest.raises(InvalidArgument):
        await walked(store, root_of(index), concurrency=0)
