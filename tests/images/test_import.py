"""Import: what comes, what it is named, and that nothing is named that is not whole."""

from __future__ import annotations

import base64
import gzip
import json
import lzma
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.archives import pieces
from support.make_archives import blob, layout, one_image, saved, tar, two_platforms
from support.make_images import MANIFEST, encode, manifest_of, named

from steelyard import AlreadyExists, LocalStore, MemoryStore, NotFound, Progress, Store
from steelyard.errors import IncompleteImage
from steelyard.images import DirectoryLayout, ImagesOf, Imported, Naming, Platforms, check, import_images

pytestmark = pytest.mark.anyio

LARGE = random.Random(1).randbytes(3 << 19)  # over the size up to which blobs go in batches
NAME = "docker.io/library/demo:1"


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store of each kind."""
    async with LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore() as store:
        yield store


@pytest.fixture(params=["file", "stream"])
def form(request: pytest.FixtureRequest) -> str:
    """Give both ways in which an archive can be read: in any order, and in one pass."""
    return str(request.param)


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


async def bring(store: Store, data: bytes, tmp_path: Path, form: str = "file", **options: Any) -> Imported:
    """Import an archive that comes in that form."""
    if form == "stream":
        return await import_images(store, pieces(data, 70_001), **options)
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress, "xz": _xz}
    packed = packers.get(form, bytes)(data)
    path = tmp_path / f"archive.{form}"
    path.write_bytes(packed)
    return await import_images(store, path, **options)


def image(*layers: bytes, ref: str = "demo:1") -> tuple[bytes, list[bytes]]:
    """Return an archive of one image, and its blobs."""
    index, _, blobs = one_image(list(layers), org_opencontainers_image_ref_name=ref)
    return tar(layout(index, blobs)), blobs


async def names(store: Store) -> list[str]:
    return [each.name for each in await store.images.list()]


@pytest.mark.parametrize("form", ["file", "stream", "gzip", "zstd", "xz"])
async def test_an_oci_archive_comes_whole_in_every_form(store: Store, tmp_path: Path, form: str) -> None:
    data, blobs = image(b"small", LARGE)

    found = await bring(store, data, tmp_path, form)

    assert (NAME,) == found.names
    assert {"new"} == {each.status for each in found.blobs}
    assert sorted(blobs) == sorted([await store.get(each.digest) for each in found.blobs])
    assert (await check(store, NAME)).complete


async def test_what_docker_saved_comes_whole_in_every_form(store: Store, tmp_path: Path, form: str) -> None:
    layers = [b"lowest", LARGE, gzip.compress(b"compressed", mtime=0)]
    digests = [named(layer)["digest"] for layer in layers]

    found = await bring(store, tar(saved(layers, "demo:1", "Demo.example/other:2")), tmp_path, form)

    assert (NAME, "Demo.example/other:2") == found.names
    manifest = (await check(store, NAME)).present[0].document
    assert manifest is not None
    assert digests == [each["digest"] for each in manifest.value()["layers"]]
    assert [".tar", ".tar", ".tar.gzip"] == [
        each["mediaType"].partition("rootfs.diff")[2] for each in manifest.value()["layers"]
    ]


async def test_every_form_of_an_archive_gives_the_same_image(tmp_path: Path) -> None:
    data = tar(saved([b"lowest", LARGE], "demo:1"))
    targets = set()
    for form in ("file", "stream", "gzip"):
        store = MemoryStore()
        await bring(store, data, tmp_path, form)
        targets.add((await store.images.get(NAME)).target)

    assert 1 == len(targets)


@pytest.mark.parametrize("make", ["oci", "docker"])
async def test_a_second_import_writes_no_blob(store: Store, tmp_path: Path, form: str, make: str) -> None:
    data = image(b"small", LARGE)[0] if make == "oci" else tar(saved([b"lowest", LARGE], "demo:1"))
    await bring(store, data, tmp_path, form)

    found = await bring(store, data, tmp_path, form)

    assert 0 == found.new_bytes
    assert {"present"} == {each.status for each in found.blobs}
    assert (NAME,) == found.names


async def test_a_layout_in_a_directory_and_another_store_are_sources(store: Store, tmp_path: Path) -> None:
    _, blobs = image(b"small", LARGE)
    async with DirectoryLayout(tmp_path / "layout") as there:
        await there.init()
        for data in blobs:
            await there.write_blob(data, "application/octet-stream")
        await there.write_index(one_image([b"small", LARGE], org_opencontainers_image_ref_name="demo:1")[0])

    first = await import_images(store, tmp_path / "layout")
    other = MemoryStore()
    second = await import_images(other, ImagesOf(store, (NAME,)))

    assert (NAME,) == first.names == second.names
    assert len(blobs) == len(first.blobs) == len(second.blobs)
    assert (await check(other, NAME)).complete


async def test_blobs_that_no_image_needs_are_kept_and_reported(store: Store, tmp_path: Path, form: str) -> None:
    index, _, blobs = one_image([b"layer"], org_opencontainers_image_ref_name="demo:1")

    found = await bring(store, tar(layout(index, [*blobs, b"stray"])), tmp_path, form)

    assert [b"stray"] == [await store.get(each.digest) for each in found.blobs if not each.referenced]


async def test_only_what_is_referenced_for_the_platforms_comes(store: Store, tmp_path: Path) -> None:
    index, blobs = two_platforms()

    found = await bring(
        store,
        tar(layout(index, [*blobs, b"stray"])),
        tmp_path,
        platforms=Platforms("linux/arm64"),
        only_referenced=True,
    )

    taken = {await store.get(each.digest) for each in found.blobs if each.status == "new"}
    assert b"layer of arm64" in taken
    assert not {b"layer of amd64", b"stray"} & taken
    assert {"new", "skipped"} == {each.status for each in found.blobs}
    assert (NAME,) == found.names


async def test_a_hole_is_listed_and_nothing_is_named(store: Store, tmp_path: Path, form: str) -> None:
    index, blobs = two_platforms()
    data = tar(layout(index, [each for each in blobs if each != b"layer of amd64"]))

    with pytest.raises(IncompleteImage, match="for linux/amd64") as caught:
        await bring(store, data, tmp_path, form)

    assert [named(b"layer of amd64")["digest"]] == [str(digest) for digest, _, _ in caught.value.absent]
    assert [] == await names(store)
    assert NAME in (await bring(store, data, tmp_path, form, platforms=Platforms("linux/arm64"))).names
    with pytest.raises(NotFound, match="linux/s390x"):
        await bring(store, data, tmp_path, form, platforms=Platforms("linux/s390x"))


async def test_missing_blobs_are_reported_where_they_are_allowed(store: Store, tmp_path: Path) -> None:
    data, blobs = image(b"one", b"two")
    holed = tar(layout(one_image([b"one", b"two"], org_opencontainers_image_ref_name="demo:1")[0], blobs[:-1]))

    found = await bring(store, holed, tmp_path, skip_missing=True)

    assert (named(b"two")["digest"],) == found.images[0].absent
    assert [NAME] == await names(store)
    assert () == (await bring(store, data, tmp_path)).images[0].absent


async def test_names_of_the_source_move_nothing_and_those_of_the_caller_do(store: Store, tmp_path: Path) -> None:
    old, new = image(b"old")[0], image(b"new")[0]
    await bring(store, old, tmp_path)
    held = (await store.images.get(NAME)).target

    for form in ("file", "stream"):
        with pytest.raises(AlreadyExists):
            await bring(store, new, tmp_path, form)
    assert held == (await store.images.get(NAME)).target
    await bring(store, new, tmp_path, name="demo:1")
    moved = (await store.images.get(NAME)).target
    assert held != moved
    await bring(store, old, tmp_path, overwrite=True)
    assert held == (await store.images.get(NAME)).target


async def test_progress_reaches_the_end_of_blobs_and_of_the_whole(store: Store, tmp_path: Path, form: str) -> None:
    reports: list[Progress] = []
    data, blobs = image(b"small", LARGE)

    await bring(store, data, tmp_path, form, on_progress=reports.append)

    ends = {report.name for report in reports if report.phase == "commit" and report.done == report.total}
    assert {named(each)["digest"] for each in blobs} <= ends
    whole = [report for report in reports if report.phase == "read"]
    assert [report.done for report in whole] == sorted(report.done for report in whole)
    assert whole[-1].total in {None, whole[-1].done}
    assert whole[-1].done > 0


async def test_labels_are_the_callers(store: Store, tmp_path: Path) -> None:
    index, _, blobs = one_image(
        [b"x"], org_opencontainers_image_ref_name="demo:1", **{"containerd_io/gc_root": "yes", "a": "b"}
    )

    await bring(store, tar(layout(index, blobs)), tmp_path, labels={"mine": "1"})

    assert {"mine": "1"} == (await store.images.get(NAME)).labels
    assert {} == (await store.info(named(blobs[0])["digest"])).labels


async def test_the_index_gets_a_name(store: Store, tmp_path: Path, form: str) -> None:
    naming = Naming(index_name="all:1", digests=True)

    found = await bring(store, tar(saved([b"layer"], "demo:1")), tmp_path, form, naming=naming)

    assert "docker.io/library/all:1" == found.index
    assert (await check(store, "docker.io/library/all:1")).complete
    assert {NAME, f"docker.io/library/demo@{found.images[0].target.digest}", found.index} == set(await names(store))


async def test_the_entry_of_a_blob_may_come_twice(store: Store, tmp_path: Path, form: str) -> None:
    index, _, blobs = one_image([b"x", LARGE], org_opencontainers_image_ref_name="demo:1")

    found = await bring(store, tar([*layout(index, blobs), blob(LARGE), blob(b"x")]), tmp_path, form)

    assert len(blobs) == len(found.blobs)


async def test_what_only_a_descriptor_brings_along_is_stored(store: Store) -> None:
    """OCI lets a descriptor have its blob's bytes; the archive may do without that blob then."""
    config, layer = b'{"os":"linux","architecture":"amd64"}', b"layer"
    value = json.loads(manifest_of([layer], config=config))
    value["config"]["data"] = base64.b64encode(config).decode()
    manifest = encode(value)
    entry = named(manifest, MANIFEST, data=base64.b64encode(manifest).decode())
    index = encode({"schemaVersion": 2, "manifests": [entry]})

    found = await import_images(store, pieces(tar(layout(index, [layer]))), name="demo:1")

    assert {named(each)["digest"]: "new" for each in (config, layer, manifest)} == {
        str(blob.digest): blob.status for blob in found.blobs
    }
    assert (await check(store, NAME)).complete
    value["config"]["data"] = base64.b64encode(b"other").decode()
    manifest = encode(value)
    index = encode({"schemaVersion": 2, "manifests": [named(manifest, MANIFEST)]})
    await store.delete(named(config)["digest"])
    with pytest.raises(IncompleteImage):
        await import_images(store, pieces(tar(layout(index, [layer, manifest]))), name="demo:2")


async def test_each_blob_that_was_stored_has_the_time_it_took(store: Store) -> None:
    data, _ = image(b"one", LARGE)
    first = await import_images(store, pieces(data))
    again = await import_images(store, pieces(data))

    (large,) = [blob for blob in first.blobs if blob.size == len(LARGE)]
    assert 0 < large.seconds <= first.seconds
    assert {0.0} == {blob.seconds for blob in again.blobs}
