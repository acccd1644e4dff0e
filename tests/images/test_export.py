"""Export: what is written, in which order, and that the same content gives the same bytes."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
import zstandard
from anyio.abc import ByteSendStream
from support.make_images import (
    CONFIG,
    LAYER,
    MANIFEST,
    encode,
    index_of,
    keep,
    keep_two_platforms,
    manifest_of,
    named,
    target_of,
)

from steelyard import Algorithm, AlreadyExists, InvalidArgument, LocalStore, MemoryStore, NotFound, Store
from steelyard.errors import IncompleteImage
from steelyard.images import DirectoryLayout, Platforms, check, export_images, import_images

pytestmark = pytest.mark.anyio

NAME = "docker.io/demo/app:1"
FORMS: tuple[tuple[str, Literal["zstd"] | None], ...] = (("a.tar", None), ("a.tar.zst", "zstd"))


class Sink(ByteSendStream):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.data = b""

    async def send(self, item: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.data += item

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store of each kind."""
    async with LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore() as store:
        yield store


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def entries(data: bytes) -> dict[str, bytes | None]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        files = {member.name: archive.extractfile(member) for member in members}
        assert len(files) == len(members)
        return {name: None if file is None else file.read() for name, file in files.items()}


async def archive_of(store: Store, *names: str, **options: Any) -> bytes:
    sink = Sink()
    await export_images(store, sink, names, **options)
    return sink.data


async def keep_plain(store: Store, name: str, **more: Any) -> bytes:
    """Store an image without an index, and return its manifest."""
    config = b'{"os":"linux","architecture":"amd64"}'
    manifest = manifest_of([b"one", b"two"], config=config)
    await keep(store, config, b"one", b"two", manifest)
    await store.images.create(name, target_of(manifest, MANIFEST), **more)
    return manifest


async def test_files_and_streams_get_the_same_bytes_verified_or_not(store: Store, tmp_path: Path) -> None:
    await keep_two_platforms(store, NAME)
    found = [await archive_of(store, NAME), await archive_of(store, NAME, verify=False)]
    for verify in (True, False):
        await export_images(store, tmp_path / "a.tar", [NAME], verify=verify)
        found.append((tmp_path / "a.tar").read_bytes())

    assert 1 == len(set(found))
    assert {"a.tar", "store"} >= names_in(tmp_path)


@pytest.mark.slow
async def test_two_stores_and_two_processes_give_the_same_bytes(tmp_path: Path) -> None:
    program = f"""
import anyio, sys
from support.make_images import keep_two_platforms
from images.test_export import keep_plain
from steelyard import LocalStore
from steelyard.images import export_images
async def main(path):
    async with LocalStore(path + ".store") as store:
        steps = [lambda: keep_two_platforms(store, {NAME!r}), lambda: keep_plain(store, "docker.io/demo/plain:1")]
        for step in steps if path.endswith("a.tar") else reversed(steps):
            await step()
        names = [image.name for image in await store.images.list()]
        await export_images(store, path, names if path.endswith("a.tar") else reversed(names))
anyio.run(main, sys.argv[1])
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    for name, seed in (("a.tar", "1"), ("b.tar", "2")):
        seeded = environment | {"PYTHONHASHSEED": seed}
        await anyio.run_process([sys.executable, "-c", program, str(tmp_path / name)], env=seeded)

    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


async def test_documents_come_first_and_each_blob_once(store: Store) -> None:
    _, blobs = await keep_two_platforms(store, NAME)
    await keep_plain(store, "docker.io/demo/plain:1")
    data = await archive_of(store, NAME, "docker.io/demo/plain:1")
    names = list(entries(data))
    kinds = ["{" == (content or b"")[:1].decode() for content in list(entries(data).values())[5:]]

    assert ["oci-layout", "index.json", "manifest.json", "blobs", "blobs/sha256"] == names[:5]
    assert len(set(blobs)) + 4 == len(names[5:])
    assert sorted(kinds, reverse=True) == kinds


async def test_the_index_has_the_roots_by_name_with_their_tags(store: Store) -> None:
    await keep_two_platforms(store, NAME)
    await keep_plain(store, "docker.io/demo/plain:2")
    index = json.loads(entries(await archive_of(store, "docker.io/demo/plain:2", NAME))["index.json"] or b"")
    names = [each["annotations"]["io.containerd.image.name"] for each in index["manifests"]]
    tags = [each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]]

    assert [NAME, "docker.io/demo/plain:2"] == names
    assert ["1", "2"] == tags


async def test_images_with_one_tag_keep_apart_by_their_whole_names(store: Store) -> None:
    await keep_two_platforms(store, NAME)
    await keep_plain(store, "docker.io/demo/plain:1")
    index = json.loads(entries(await archive_of(store, "docker.io/demo/plain:1", NAME))["index.json"] or b"")
    tags = [each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]]

    assert [NAME, "docker.io/demo/plain:1"] == tags


async def test_docker_gets_the_images_that_it_can_load(store: Store) -> None:
    await keep_two_platforms(store, NAME)
    await keep_plain(store, "docker.io/library/plain:2")
    await store.images.create("docker.io/library/also:3", (await store.images.get("docker.io/library/plain:2")).target)
    names = ("docker.io/library/plain:2", "docker.io/library/also:3", NAME)
    files = entries(await archive_of(store, *names))
    (plain,) = json.loads(files["manifest.json"] or b"")
    chosen = json.loads(
        entries(await archive_of(store, NAME, platforms=Platforms("linux/arm64")))["manifest.json"] or b""
    )

    assert ["also:3", "plain:2"] == plain["RepoTags"]
    assert [b"one", b"two"] == [files[layer] for layer in plain["Layers"]]
    assert b'{"os":"linux","architecture":"amd64"}' == files[plain["Config"]]
    assert [["demo/app:1"]] == [each["RepoTags"] for each in chosen]
    assert "manifest.json" not in entries(await archive_of(store, *names, skip_manifest_json=True))


async def test_a_manifest_without_a_name_is_exported_by_its_digest(store: Store) -> None:
    manifest = await keep_plain(store, NAME)
    digest = target_of(manifest).digest
    index = json.loads(entries(await archive_of(store, manifests=[digest], oci_ref_name="mine"))["index.json"] or b"")

    assert [str(digest)] == [each["digest"] for each in index["manifests"]]
    assert [{"org.opencontainers.image.ref.name": "mine"}] == [each["annotations"] for each in index["manifests"]]


async def test_nothing_is_written_of_an_image_that_is_not_whole(store: Store, tmp_path: Path) -> None:
    _, blobs = await keep_two_platforms(store, NAME)
    layer = target_of(b"layer of arm64").digest
    await store.delete(layer)
    sink = Sink()
    with pytest.raises(IncompleteImage) as failure:
        await export_images(store, sink, [NAME])
    with pytest.raises(IncompleteImage):
        await export_images(store, tmp_path / "a.tar", [NAME])
    manifest = target_of(blobs[5]).digest

    assert ((layer, manifest, "linux/arm64"),) == failure.value.absent
    assert b"" == sink.data
    assert not (tmp_path / "a.tar").exists()
    assert f"blobs/sha256/{layer.encoded}" not in entries(await archive_of(store, NAME, skip_missing=True))
    await export_images(store, sink, [NAME], platforms=Platforms("linux/amd64"))
    assert sink.data


async def test_a_platform_that_nothing_is_for_is_an_error(store: Store) -> None:
    await keep_two_platforms(store, NAME)
    with pytest.raises(NotFound, match="linux/s390x"):
        await export_images(store, Sink(), [NAME], platforms=Platforms("linux/s390x"))


async def test_layers_that_are_not_to_be_passed_on_are_left_out_even_if_absent(store: Store) -> None:
    config = b'{"os":"linux","architecture":"amd64"}'
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    layers = [named(b"secret", foreign), named(b"free", LAYER)]
    manifest = encode({"schemaVersion": 2, "mediaType": MANIFEST, "config": named(config, CONFIG), "layers": layers})
    await keep(store, config, b"free", manifest)
    await store.images.create(NAME, target_of(manifest, MANIFEST))
    with pytest.raises(IncompleteImage):
        await export_images(store, Sink(), [NAME])
    found = await export_images(store, Sink(), [NAME], skip_non_distributable=True)
    files = entries(await archive_of(store, NAME, skip_non_distributable=True))

    assert ["written", "written", "written", "skipped"] == [blob.status for blob in found.blobs]
    assert b"free" in files.values()
    assert "manifest.json" not in files


async def test_bytes_that_come_with_a_descriptor_need_not_be_stored(store: Store) -> None:
    config = named(b"{}", "application/vnd.oci.empty.v1+json", data="e30=")
    manifest = encode(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [named(b"file", "text/plain")]}
    )
    await keep(store, b"file", manifest)
    await store.images.create(NAME, target_of(manifest, MANIFEST))
    bare = await archive_of(store, NAME)
    await keep(store, b"{}")

    assert b"{}" in entries(bare).values()
    assert bare == await archive_of(store, NAME)


async def test_compression_wraps_the_same_archive(store: Store, tmp_path: Path) -> None:
    await keep_two_platforms(store, NAME)
    plain = await archive_of(store, NAME)
    await export_images(store, tmp_path / "a.tar.gz", [NAME], compress="gzip")
    packed = await archive_of(store, NAME, compress="zstd")

    assert plain == gzip.decompress((tmp_path / "a.tar.gz").read_bytes())
    assert plain == zstandard.ZstdDecompressor().decompressobj().decompress(packed)


async def test_what_was_exported_is_imported_under_the_same_names(store: Store, tmp_path: Path) -> None:
    await keep_two_platforms(store, NAME)
    await keep_plain(store, "docker.io/demo/plain:1")
    names = [NAME, "docker.io/demo/plain:1"]
    for file, compress in FORMS:
        await export_images(store, tmp_path / file, names, compress=compress)
        async with MemoryStore() as other:
            await import_images(other, tmp_path / file)

            assert [each.target.digest for each in await store.images.list()] == [
                each.target.digest for each in await other.images.list()
            ]
            assert names == [each.name for each in await other.images.list()]
            assert await archive_of(store, *names) == await archive_of(other, *names)


async def test_a_directory_gets_the_blobs_and_then_the_index(store: Store, tmp_path: Path) -> None:
    index, blobs = await keep_two_platforms(store, NAME)
    async with DirectoryLayout(tmp_path / "layout") as layout:
        first = await export_images(store, layout, [NAME])
        damaged = tmp_path / "layout" / "blobs" / "sha256" / target_of(b"shared layer").digest.encoded
        damaged.chmod(0o644)
        damaged.write_bytes(b"shared LAYER")
        second = await export_images(store, layout, [NAME])
        (entry,) = (await layout.read_index()).view.children

    assert {"written"} == {blob.status for blob in first.blobs}
    assert [b"shared layer"] == [blob for blob in blobs if "written" in written_of(second, blob)]
    assert b"shared layer" == damaged.read_bytes()
    assert str(target_of(index).digest) == entry.digest


def written_of(found: Any, blob: bytes) -> set[str]:
    return {each.status for each in found.blobs if each.descriptor.digest == str(target_of(blob).digest)}


async def test_another_store_gets_blobs_names_and_labels(store: Store) -> None:
    await keep_plain(store, NAME, labels={"kind": "demo"})
    async with MemoryStore() as target:
        found = await export_images(store, target, [NAME])
        again = await export_images(store, target, [NAME])
        image = await target.images.get(NAME)

        assert ({"written"}, {"present"}) == tuple({blob.status for blob in each.blobs} for each in (found, again))
        assert {"kind": "demo"} == dict(image.labels)
        assert image.created_at == image.updated_at  # it was never there without its labels
        assert (await check(target, NAME)).complete

        other = manifest_of([])
        await target.images.assign({NAME: target_of(other, MANIFEST)}, overwrite=True)
        with pytest.raises(AlreadyExists):
            await export_images(store, target, [NAME])
        await export_images(store, target, [NAME], overwrite=True)
        assert image.target == (await target.images.get(NAME)).target


async def test_another_store_gets_many_small_blobs_of_several_algorithms(store: Store, tmp_path: Path) -> None:
    layers = [str(number).encode() for number in range(300)]
    other = await store.put(b"by another name", algorithm=Algorithm.BLAKE3)
    config = b'{"os":"linux","architecture":"amd64"}'
    value = json.loads(manifest_of(layers, config=config))
    value["layers"].append({"mediaType": LAYER, "digest": str(other.digest), "size": other.size})
    manifest = encode(value)
    await keep(store, *layers, config, manifest)
    await store.images.create(NAME, target_of(manifest, MANIFEST))
    async with LocalStore(tmp_path / "target") as target:
        await keep(target, *layers[:10])
        found = await export_images(store, target, [NAME])

        assert (await check(target, NAME)).complete
        assert 10 == sum(blob.status == "present" for blob in found.blobs)
        assert 293 == sum(blob.status == "written" for blob in found.blobs)


async def test_a_name_that_is_taken_is_found_out_before_anything_is_copied(store: Store) -> None:
    manifest = await keep_plain(store, NAME)
    async with MemoryStore() as target:
        await target.images.create(NAME, target_of(b"other", MANIFEST))
        with pytest.raises(AlreadyExists):
            await export_images(store, target, [NAME])

        assert not await target.exists(target_of(manifest).digest)
        assert [] == [info async for info in target.walk()]


async def test_an_image_without_an_index_is_for_what_its_config_says(store: Store) -> None:
    await keep_plain(store, NAME)
    with pytest.raises(NotFound, match=r"linux/s390x in image .*, which is for linux/amd64"):
        await archive_of(store, NAME, platforms=Platforms("linux/s390x"))

    both = Platforms("linux/s390x", "linux/amd64")
    assert await archive_of(store, NAME) == await archive_of(store, NAME, platforms=both)


async def test_what_is_no_manifest_needs_its_media_type_said(store: Store) -> None:
    await keep(store, b"layer")
    with pytest.raises(InvalidArgument, match="an index or a manifest"):
        await archive_of(store, manifests=[target_of(b"layer").digest])

    assert await archive_of(store, manifests=[target_of(b"layer").digest], manifest_type="application/x-thing")


async def test_an_index_within_an_index_comes_along(store: Store) -> None:
    inner, blobs = await keep_two_platforms(store)
    outer = index_of((inner, None), media_type="application/vnd.oci.image.index.v1+json")
    await keep(store, outer)
    await store.images.create(NAME, target_of(outer))

    assert len(set(blobs)) + 1 + 4 == len(entries(await archive_of(store, NAME)))


@pytest.mark.parametrize(
    "options",
    [{}, {"names": [NAME], "compress": "xz"}, {"names": [NAME, "docker.io/demo/plain:1"], "oci_ref_name": "x"}],
    ids=["nothing", "xz", "ref name of two"],
)
async def test_requests_that_make_no_sense_are_refused(store: Store, options: Any) -> None:
    await keep_two_platforms(store, NAME)
    await keep_plain(store, "docker.io/demo/plain:1")
    with pytest.raises(InvalidArgument):
        await export_images(store, Sink(), **options)
