"""Which images an import names how."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest
from support.archives import pieces
from support.make_archives import layout, one_image, saved, tar
from support.make_images import encode

from steelyard import InvalidArgument, MemoryStore, NotFound
from steelyard.errors import InvalidDocument, InvalidReference
from steelyard.images import Naming, Platforms, import_images

pytestmark = pytest.mark.anyio

REF = "org_opencontainers_image_ref_name"
CONTAINERD = "io_containerd_image_name"
LIBRARY = "docker.io/library/"


def archive(*names: dict[str, str]) -> tuple[bytes, list[str]]:
    """Return an archive of images with these annotations, and their digests."""
    entries, blobs = [], []
    for number, wanted in enumerate(names):
        index, _, own = one_image([str(number).encode()], **wanted)
        entries += json.loads(index)["manifests"]
        blobs += own
    index = encode({"schemaVersion": 2, "manifests": entries})
    return tar(layout(index, list(dict.fromkeys(blobs)))), [entry["digest"] for entry in entries]


async def named_by(*images: dict[str, str], name: str | None = None, **naming: Any) -> list[list[str]]:
    """Return what each image of an archive is named, the digests of images as numbers in braces."""
    data, digests = archive(*images)
    if name is not None:
        name = name.format(*digests)
    found = await import_images(MemoryStore(), pieces(data), name=name, naming=Naming(**naming))
    names = [[str(each) for each in image.names] for image in found.images]
    for number, digest in enumerate(digests):
        names = [[each.replace(digest, f"{{{number}}}") for each in of_one] for of_one in names]
    return names


@pytest.mark.parametrize(
    ("annotations", "naming", "names"),
    [
        ({}, {}, []),
        ({REF: "v1"}, {}, []),
        ({REF: "v1"}, {"base_name": "a/b"}, ["docker.io/a/b:v1"]),
        ({REF: "v1"}, {"prefix": "a/b"}, ["docker.io/a/b:v1"]),
        ({REF: "demo:1"}, {}, [LIBRARY + "demo:1"]),
        ({REF: "demo:1"}, {"base_name": "a/b"}, []),
        ({REF: "a/b:1"}, {"base_name": "a/b"}, ["docker.io/a/b:1"]),
        ({REF: "demo:1"}, {"prefix": "a/b"}, [LIBRARY + "demo:1"]),
        ({REF: "v1", CONTAINERD: "demo:1"}, {"prefix": "a/b"}, [LIBRARY + "demo:1"]),
        ({REF: "No: name!"}, {"prefix": "a/b"}, []),
        ({REF: "../evil"}, {"prefix": "a/b"}, []),
        ({REF: "demo:1"}, {"digests": True}, [LIBRARY + "demo:1", LIBRARY + "demo@{0}"]),
        ({REF: "demo:1"}, {"digests": True, "skip_digest_for_named": True}, [LIBRARY + "demo:1"]),
        ({}, {"digests": True, "skip_digest_for_named": True, "prefix": "a/b"}, ["docker.io/a/b@{0}"]),
        ({}, {"digests": True}, []),
    ],
)
async def test_names_of_one_image(annotations: dict[str, str], naming: dict[str, Any], names: list[str]) -> None:
    assert [names] == await named_by(annotations, **naming)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("one:1", [LIBRARY + "one:1"]),
        ("new@{1}", [LIBRARY + "new@{1}"]),
        ("new:3@{1}", [LIBRARY + "new:3@{1}"]),
        ("new:v2", [LIBRARY + "new:v2"]),
    ],
)
async def test_the_callers_name_says_which_of_several(name: str, names: list[str]) -> None:
    assert [names] == await named_by({REF: "one:1"}, {REF: "v2"}, name=name)


async def test_the_callers_name_replaces_those_of_the_source() -> None:
    assert [[LIBRARY + "mine:latest"]] == await named_by({REF: "one:1"}, name="mine")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "new:3"}, InvalidArgument),
        ({"name": "new@sha256:" + "0" * 64}, NotFound),
        ({"name": "UPPER"}, InvalidReference),
        ({"name": "new:1", "base_name": "a"}, InvalidArgument),
        ({"base_name": "a", "prefix": "b"}, InvalidArgument),
        ({"base_name": "a:1"}, InvalidReference),
        ({"index_name": "UPPER"}, InvalidReference),
    ],
)
async def test_names_that_cannot_be_given(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        await named_by({REF: "one:1"}, {REF: "v2"}, **options)


async def test_images_of_one_name_are_distinguished_by_their_platforms() -> None:
    data, digests = archive({REF: "demo:1"}, {REF: "demo:1"})
    entries = tarfile.open(fileobj=io.BytesIO(data))  # noqa: SIM115  # closed below
    with entries:
        files = {name: entries.extractfile(name) for name in entries.getnames()}
        contents = [(name, file.read()) for name, file in files.items() if file is not None]
    value = json.loads(dict(contents)["index.json"])
    for entry, architecture in zip(value["manifests"], ("amd64", "arm64"), strict=True):
        entry["platform"] = {"os": "linux", "architecture": architecture}
    changed = tar([(name, encode(value) if name == "index.json" else old) for name, old in contents])

    with pytest.raises(InvalidDocument, match="one image named"):
        await import_images(MemoryStore(), pieces(changed))
    with pytest.raises(NotFound, match="linux/s390x"):
        await import_images(MemoryStore(), pieces(changed), platforms=Platforms("linux/s390x"))
    found = await import_images(MemoryStore(), pieces(changed), platforms=Platforms("linux/arm64"))
    assert [(digests[1], (LIBRARY + "demo:1",))] == [(str(each.target.digest), each.names) for each in found.images]


async def test_images_that_share_a_whole_name_have_their_own_tags_in_its_repository() -> None:
    """Programs like umoci copy the whole name to what they build, and give that a tag of its own."""
    shared = [{REF: "1", CONTAINERD: "demo:1"}, {REF: "2", CONTAINERD: "demo:1"}]

    assert [[LIBRARY + "demo:1"], [LIBRARY + "demo:2"]] == await named_by(*shared)
    assert [[LIBRARY + "demo:2"]] == await named_by(*shared, name="demo:2")
    # A name that is not shared stays, whatever stands beside it.
    assert [[LIBRARY + "demo:1"], [LIBRARY + "other:1"]] == await named_by(
        {REF: "2", CONTAINERD: "demo:1"}, {REF: "2", CONTAINERD: "other:1"}
    )


@pytest.mark.parametrize("beside", [{}, {REF: "1"}, {REF: "No: tag!"}])
async def test_an_ambiguous_name_is_refused_with_names_that_are_not(beside: dict[str, str]) -> None:
    image = {CONTAINERD: "demo:1", **beside}
    _, digests = archive(image, image)

    with pytest.raises(InvalidDocument) as caught:
        await named_by(image, image)
    for digest in digests:
        assert f"{LIBRARY}demo:1@{digest}" in str(caught.value)
    assert [[f"{LIBRARY}demo:1@{{1}}"]] == await named_by(image, image, name="demo:1@{1}")


async def test_docker_names_several_images_and_none() -> None:
    store = MemoryStore()
    entries = saved([b"layer"], "one", "Host.example:5000/two:2")

    found = await import_images(store, pieces(tar(entries)))
    unnamed = await import_images(store, pieces(tar(saved([b"layer"]))))

    assert (LIBRARY + "one:latest", "Host.example:5000/two:2") == found.names
    assert () == unnamed.names
    assert found.images[0].target == unnamed.images[0].target
