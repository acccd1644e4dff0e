"""Blobs that images share are read and visited once, however many images there are: counts of reads and looks, never times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support.archives import pieces
from support.make_archives import layout, tar
from support.make_images import CONFIG, INDEX, MANIFEST, encode, manifest_of, named, root_of

from steelyard import Descriptor, Digest, Info, MemoryStore, ReaderAt
from steelyard.content import opening
from steelyard.errors import InvalidDocument, LimitExceeded
from steelyard.images import ImagesOf, Limits, Naming, Platforms, export_images, import_images
from steelyard.images.importing._naming import Contents, Root, plan

FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
IMAGES, LAYERS = 150, 200

Index = dict[str, Any]


class Counting(MemoryStore):
    """A store that counts how often each blob is opened, and how many it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Counter[str] = Counter()
        self.asked = 0

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        self.opened[str(Descriptor.of(blob).digest)] += 1
        return await super().reader_at(blob)

    async def infos(self, digests: Iterable[Digest | str]) -> dict[Digest, Info]:
        wanted = list(digests)
        self.asked += len(wanted)
        return await super().infos(wanted)


def index(*entries: Index, **more: Any) -> bytes:
    return encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries), **more})


def many_indexes(manifest: bytes) -> tuple[bytes, list[bytes]]:
    """Give an index of many different indexes that name one manifest, and those indexes."""
    inner = [index(named(manifest, MANIFEST), annotations={"number": str(number)}) for number in range(IMAGES)]
    return index(*(named(each, INDEX) for each in inner)), inner


def sources(data: bytes, folder: Path) -> list[Any]:
    (folder / "a.tar").write_bytes(data)
    return [folder / "a.tar", pieces(data)]


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("platforms", [None, Platforms("linux/amd64")])
async def test_many_images_read_a_manifest_and_visit_its_layers_once(
    platforms: Platforms | None, tmp_path: Path
) -> None:
    layers = [b"%d" % number for number in range(LAYERS)]
    config = encode({"os": "linux", "architecture": "amd64"})
    manifest = manifest_of(layers, config=config)
    outer, inner = many_indexes(manifest)
    data = tar(layout(outer, [manifest, config, *inner, *layers]))
    for source in sources(data, tmp_path):
        async with Counting() as store:
            found = await import_images(store, source, platforms=platforms)

            assert IMAGES == len(found.images)
            assert LAYERS + IMAGES + 2 == sum(blob.referenced for blob in found.blobs)
            assert store.opened[str(named(manifest)["digest"])] <= 3
            assert store.opened[str(named(config)["digest"])] <= 2
            assert store.asked <= 10 * (LAYERS + IMAGES)


@pytest.mark.anyio
async def test_many_manifests_read_their_config_once(tmp_path: Path) -> None:
    config = encode({"os": "linux", "architecture": "amd64"})
    layers = [b"%d" % number for number in range(IMAGES)]
    manifests = [manifest_of([each], config=config) for each in layers]
    data = tar(layout(index(*(named(each, MANIFEST) for each in manifests)), [config, *manifests, *layers]))
    for source in sources(data, tmp_path):
        async with Counting() as store:
            await import_images(store, source)

            assert store.opened[str(named(config)["digest"])] <= 2


@pytest.mark.anyio
async def test_indexes_that_meet_again_are_not_visited_once_for_each_path(tmp_path: Path) -> None:
    """Two indexes at each of 14 levels name both of the next: 16,384 paths to one manifest."""
    config = encode({"os": "linux", "architecture": "amd64"})
    manifest = manifest_of([b"layer"], config=config)
    blobs, level = [config, b"layer", manifest], [named(manifest, MANIFEST)]
    for depth in range(14):
        pair = [index(*level, annotations={"x": f"{depth} {side}"}) for side in range(2)]
        blobs += pair
        level = [named(each, INDEX) for each in pair]
    data = tar(layout(index(*level), blobs))
    for source in sources(data, tmp_path):
        async with Counting() as store:
            await import_images(store, source)

            assert max(store.opened.values()) <= 3
            assert store.asked <= 10 * len(blobs)


@pytest.mark.slow
@pytest.mark.anyio
async def test_images_that_lack_something_are_visited_within_a_limit(tmp_path: Path) -> None:
    """Absent blobs are listed for each image, so each image has to be visited: that is bounded."""
    config = encode({"os": "linux", "architecture": "amd64"})
    foreign = [named(b"%d" % number, FOREIGN) for number in range(LAYERS)]
    manifest = encode({"schemaVersion": 2, "config": named(config, CONFIG), "layers": foreign})
    outer, inner = many_indexes(manifest)
    data = tar(layout(outer, [manifest, config, *inner]))
    for source in sources(data, tmp_path):
        async with Counting() as store:
            found = await import_images(store, source)
            assert {LAYERS} == {len(image.absent) for image in found.images}
            assert store.opened[str(named(manifest)["digest"])] <= 3
    for source in sources(data, tmp_path):
        async with Counting() as store:
            with pytest.raises(LimitExceeded, match="nodes"):
                await import_images(store, source, limits=Limits(nodes=10 * LAYERS))


@pytest.mark.anyio
@pytest.mark.parametrize("first", [0, 1])
async def test_a_contradiction_is_found_below_what_another_image_has_too(first: int, tmp_path: Path) -> None:
    """The second image names a layer of the manifest that both have, once as a layer and once as a manifest."""
    config = encode({"os": "linux", "architecture": "amd64"})
    layer = manifest_of([b"layer"], config=config)
    manifest = manifest_of([layer], config=config)
    right = index(named(manifest, MANIFEST))
    wrong = index(named(manifest, MANIFEST), named(layer, MANIFEST))
    order = [right, wrong] if first == 0 else [wrong, right]
    data = tar(layout(index(*(named(each, INDEX) for each in order)), [*order, manifest, layer, config, b"layer"]))
    for source in sources(data, tmp_path):
        async with MemoryStore() as store:
            with pytest.raises(InvalidDocument, match="as in another place of the image"):
                await import_images(store, source)


@pytest.mark.anyio
async def test_a_nesting_is_refused_also_where_another_image_has_the_lower_part(tmp_path: Path) -> None:
    config = encode({"os": "linux", "architecture": "amd64"})
    chain = [manifest_of([b"layer"], config=config)]
    for _ in range(6):
        chain.append(index(named(chain[-1], MANIFEST if len(chain) == 1 else INDEX)))
    lower = named(chain[3], INDEX)
    data = tar(layout(index(lower, named(chain[-1], INDEX)), [*chain, config, b"layer"]))
    for source in sources(data, tmp_path):
        async with MemoryStore() as store:
            await import_images(store, source, limits=Limits(nesting=6))
    for source in sources(data, tmp_path):
        async with MemoryStore() as store:
            with pytest.raises(LimitExceeded, match="nesting"):
                await import_images(store, source, limits=Limits(nesting=5))


@pytest.mark.anyio
async def test_one_image_of_many_names_is_exported_and_copied_with_one_walk(tmp_path: Path) -> None:
    config = encode({"os": "linux", "architecture": "amd64"})
    layers = [b"%d" % number for number in range(LAYERS)]
    manifest = manifest_of(layers, config=config)
    names = [f"docker.io/library/demo:{number}" for number in range(IMAGES)]
    async with Counting() as store:
        for data in (config, manifest, *layers):
            await store.put(data)
        target = root_of(manifest, MANIFEST).target
        await store.images.assign(dict.fromkeys(names, target))
        store.opened.clear()
        store.asked = 0
        done = await export_images(store, tmp_path / "a.tar", names)
        assert IMAGES == len(done.images)
        assert store.opened[str(target.digest)] <= 3
        assert store.asked <= 10 * LAYERS

        store.opened.clear()
        async with MemoryStore() as other:
            found = await import_images(other, ImagesOf(store, tuple(names)))
        assert sorted(names) == sorted(found.names)
        assert store.opened[str(target.digest)] <= 3


@pytest.mark.slow
def test_an_image_may_have_many_names() -> None:
    """Two entries with 200,000 names each for one image: eighty thousand million comparisons, if each were held to all."""
    descriptor = root_of(b"", MANIFEST)
    roots = [Root(descriptor=descriptor, names=tuple(f"demo:{side}-{n}" for n in range(200_000))) for side in range(2)]

    found = plan(Contents(roots=tuple(roots), index=b"", name="x"), None, Naming())

    assert [400_000] == [len(names) for _, names in found.images]
