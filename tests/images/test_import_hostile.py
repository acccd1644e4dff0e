"""Import of broken and hostile archives: each is refused with the entry that is wrong, and nothing gets a name."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.archives import pieces
from support.make_archives import LAYOUT, Link, blob, layout, one_image, saved, tar
from support.make_images import CONFIG, encode, named
from support.make_images import MANIFEST as MANIFEST_TYPE

from steelyard import Descriptor, Digest, InvalidArgument, LocalStore, MemoryStore, Store
from steelyard.errors import InvalidArchive, InvalidDocument, InvalidImage, LimitExceeded
from steelyard.hashing import digest_of
from steelyard.images import Limits, check, import_images

pytestmark = pytest.mark.anyio

LARGE = random.Random(1).randbytes(3 << 19)
OTHER = random.Random(2).randbytes(3 << 19)
INDEX, MANIFEST, BLOBS = one_image([b"layer", LARGE], org_opencontainers_image_ref_name="demo:1")
GOOD = layout(INDEX, BLOBS)
SAVED = saved([b"layer", LARGE], "demo:1")
SAVED_LAYER = SAVED[2][0]


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store of each kind."""
    async with LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore() as store:
        yield store


async def refuse(store: Store, data: bytes, tmp_path: Path, error: type[Exception], match: str, **more: Any) -> None:
    """See that an archive is refused in both ways of reading, and that nothing is visible but whole blobs."""
    path = tmp_path / "archive.tar"
    path.write_bytes(data)
    for source in (path, pieces(data, 70_001)):
        with pytest.raises(error, match=match):
            await import_images(store, source, **more)
        assert [] == await store.images.list()
        async for info in store.walk():
            assert info.digest == await digest_of(await store.get(info.digest))


def swap(entries: list[tuple[str, bytes | Link]], name: str, content: bytes) -> bytes:
    """Return the archive with another content under a name."""
    return tar([(each, content if each == name else old) for each, old in entries])


@pytest.mark.parametrize("size", ["small", "large"])
async def test_other_bytes_than_the_name_says(store: Store, tmp_path: Path, size: str) -> None:
    right = b"layer" if size == "small" else LARGE
    wrong = b"LAYER" if size == "small" else OTHER
    name = blob(right)[0]

    await refuse(store, swap(GOOD, name, wrong), tmp_path, InvalidArchive, f"{name}.*{named(wrong)['digest']}")

    # Right bytes that were under way may be gone on with; of wrong ones nothing stays.
    assert size == "small" or [] == await store.list_statuses()


async def test_another_size_than_the_manifest_says(store: Store) -> None:
    manifest = encode({**json.loads(MANIFEST), "layers": [{**named(b"layer"), "size": 4}]})
    entry = named(manifest, "application/vnd.oci.image.manifest.v1+json")
    index = encode({"schemaVersion": 2, "manifests": [entry]})

    with pytest.raises(Exception, match=named(b"layer")["digest"]):
        await import_images(store, pieces(tar(layout(index, [*BLOBS, manifest]))), name="demo:1")
    assert [] == await store.images.list()


@pytest.mark.parametrize("where", [3000, 200_000, -11_000])
async def test_an_archive_that_ends_early(store: Store, tmp_path: Path, where: int) -> None:
    await refuse(store, tar(GOOD)[:where], tmp_path, InvalidArchive, "archive")


@pytest.mark.parametrize(
    ("name", "content"),
    [("oci-layout", b'{"imageLayoutVersion":"1.1.0"}'), ("index.json", INDEX + b" "), (blob(LARGE)[0], OTHER)],
)
async def test_a_name_that_comes_again_with_other_bytes(
    store: Store, tmp_path: Path, name: str, content: bytes
) -> None:
    await refuse(store, tar([*GOOD, (name, content)]), tmp_path, InvalidArchive, name)


async def test_a_saved_file_that_comes_again_with_other_bytes(store: Store, tmp_path: Path) -> None:
    again: list[tuple[str, bytes | Link]] = [(SAVED_LAYER, b"LAYER"), *SAVED]

    await refuse(store, tar(again), tmp_path, InvalidArchive, SAVED_LAYER)


async def test_a_layer_that_is_not_what_the_config_says(store: Store, tmp_path: Path) -> None:
    await refuse(store, swap(SAVED, SAVED_LAYER, b"LAYER"), tmp_path, InvalidArchive, SAVED_LAYER)


@pytest.mark.parametrize(
    ("target", "match"),
    [("../gone.tar", "for its link"), ("../layer1/layer.tar", "circle"), ("../../../etc/passwd", "layer1/layer.tar")],
)
async def test_links_that_lead_nowhere_in_a_circle_or_out(
    store: Store, tmp_path: Path, target: str, match: str
) -> None:
    entries = [(name, Link(target) if name == "layer1/layer.tar" else old) for name, old in SAVED]

    await refuse(store, tar(entries), tmp_path, InvalidArchive, match)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"Config": "gone.json"}, InvalidArchive, "gone.json"),
        ({"Layers": ["layer0/layer.tar"]}, InvalidDocument, "diff_ids"),
        ({"RepoTags": ["No Name!"]}, InvalidDocument, "RepoTags"),
        ({"Layers": "layer0"}, InvalidDocument, "Layers"),
    ],
)
async def test_a_manifest_json_that_misleads(
    store: Store, tmp_path: Path, change: dict[str, Any], error: type[Exception], match: str
) -> None:
    (value,) = json.loads(dict(SAVED)["manifest.json"])

    await refuse(store, swap(SAVED, "manifest.json", encode([value | change])), tmp_path, error, match)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (b"no JSON", "JSON"),
        (b'{"os":"linux","OS":"windows"}', "the field os"),
        (b'{"rootfs":{"diff_id\xc5\xbf":[]}}', "diff_ids"),
    ],
)
async def test_a_config_that_programs_read_differently(store: Store, tmp_path: Path, config: bytes, match: str) -> None:
    manifest = encode({"schemaVersion": 2, "config": named(config, CONFIG), "layers": []})
    index = encode({"schemaVersion": 2, "manifests": [named(manifest, MANIFEST_TYPE)]})

    await refuse(store, tar(layout(index, [config, manifest])), tmp_path, InvalidDocument, match, name="demo:1")
    entries = [("c.json", config), ("manifest.json", encode([{"Config": "c.json", "Layers": None}]))]
    await refuse(store, tar(entries), tmp_path, InvalidDocument, match)


@pytest.mark.parametrize("suffix", ["prettyjws", "json"])
async def test_a_manifest_of_schema_1_has_layers_that_we_do_not_know(store: Store, tmp_path: Path, suffix: str) -> None:
    manifest = encode({"schemaVersion": 1, "name": "x", "fsLayers": [{"blobSum": named(b"layer")["digest"]}]})
    entry = named(manifest, f"application/vnd.docker.distribution.manifest.v1+{suffix}")
    data = tar(layout(encode({"schemaVersion": 2, "manifests": [entry]}), [manifest, b"layer"]))

    await refuse(store, data, tmp_path, InvalidDocument, "schema 1.*skopeo", name="demo:1")
    with pytest.raises(InvalidDocument, match="schema 1"):
        await check(store, Descriptor(digest=Digest.parse(entry["digest"])))


async def test_what_is_no_archive_of_images(store: Store, tmp_path: Path) -> None:
    await refuse(store, tar([("repositories", b"{}")]), tmp_path, InvalidArchive, "manifest.json")
    await refuse(store, tar([("oci-layout", LAYOUT)]), tmp_path, InvalidArchive, "index.json")
    await refuse(store, b"plain text" * 100, tmp_path, InvalidArchive, "archive")
    await refuse(store, tar([*GOOD, ("blobs/sha256/abc", b"x")]), tmp_path, InvalidArchive, "abc")


async def test_documents_that_are_two_things_or_too_much(store: Store, tmp_path: Path) -> None:
    both = encode({**json.loads(MANIFEST), "manifests": []})
    entry = named(both, "application/vnd.oci.image.manifest.v1+json")
    data = tar(layout(encode({"schemaVersion": 2, "manifests": [entry]}), [*BLOBS, both]))

    await refuse(store, data, tmp_path, InvalidImage, named(both)["digest"])
    await refuse(store, tar(GOOD), tmp_path, LimitExceeded, "json_bytes", limits=Limits(json_bytes=100))
    await refuse(store, tar(GOOD), tmp_path, LimitExceeded, "entries", limits=Limits(entries=3))


async def test_two_images_with_one_name(store: Store, tmp_path: Path) -> None:
    indexes = [one_image([layer], org_opencontainers_image_ref_name="demo:1") for layer in (b"1", b"2")]
    entries = [each for index, _, _ in indexes for each in json.loads(index)["manifests"]]
    blobs = [each for _, _, blobs in indexes for each in blobs]
    data = tar(layout(encode({"schemaVersion": 2, "manifests": entries}), list(dict.fromkeys(blobs))))

    await refuse(store, data, tmp_path, InvalidDocument, "one image named")
    await refuse(store, data, tmp_path, InvalidArgument, "@digest", name="any:1")
    digest = entries[1]["digest"]
    found = await import_images(store, pieces(data), name=f"any:1@{digest}")
    assert (f"docker.io/library/any:1@{digest}",) == found.names


async def test_bytes_that_an_earlier_import_left_are_never_mixed_in(tmp_path: Path) -> None:
    """A killed import of a hostile archive may leave the first half of other bytes under a right digest."""
    digest = named(LARGE)["digest"]
    (tmp_path / "a.tar").write_bytes(tar(GOOD))
    for store in (MemoryStore(), LocalStore(tmp_path / "store")):
        async with store:
            async with store.writer(f"import-{digest}", expected=digest) as writer:
                await writer.write(OTHER[: 1 << 20])

            found = await import_images(store, tmp_path / "a.tar")

            assert LARGE == await store.get(digest)
            assert 1 == len(found.names)
            assert [] == await store.list_statuses()
