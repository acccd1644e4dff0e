"""Other programs on what we export."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.make_images import CONFIG, INDEX, LAYER, MANIFEST, encode, keep, named, target_of

from steelyard import LocalStore, Store
from steelyard.images import DirectoryLayout, Platforms, convert, export_images

pytestmark = pytest.mark.anyio

COPY = ("skopeo", "copy", "--insecure-policy")
NAME = "docker.io/demo/app:1"
DOCKER = "application/vnd.docker."
DOCKER_MANIFEST = f"{DOCKER}distribution.manifest.v2+json"
DOCKER_LIST = f"{DOCKER}distribution.manifest.list.v2+json"


async def run(*words: str | Path, code: int = 0) -> str:
    """Run a program that may not be installed, and return its output."""
    if shutil.which(str(words[0])) is None:
        pytest.skip(f"{words[0]} is not installed")
    done = await anyio.run_process([str(word) for word in words], check=False, env={**os.environ, "LC_ALL": "C"})
    assert code == done.returncode, done.stderr.decode()
    return done.stdout.decode()


def layer_of(name: str, data: bytes) -> bytes:
    """Return a layer with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


async def keep_image(store: Store, architecture: str, *, docker: bool) -> dict[str, Any]:
    """Store an image of two layers that programs can run, and return the entry for an index."""
    plain = [layer_of(f"{number}.txt", f"{architecture} {number} ".encode() * 20_000) for number in range(2)]
    packed = [gzip.compress(layer, mtime=0) for layer in plain]
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in plain]
    platform = {"os": "linux", "architecture": architecture}
    config = encode({**platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    layer_type = f"{DOCKER}image.rootfs.diff.tar.gzip" if docker else f"{LAYER}+gzip"
    media_type = DOCKER_MANIFEST if docker else MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": named(config, f"{DOCKER}container.image.v1+json" if docker else CONFIG),
        "layers": [named(layer, layer_type) for layer in packed],
        **({} if docker else {"annotations": {"kept": "yes"}}),
    }
    await keep(store, config, *packed, encode(manifest))
    return named(encode(manifest), media_type, platform=platform)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Give a store."""
    async with LocalStore(tmp_path / "store") as store:
        yield store


@pytest.fixture(params=["oci", "docker"])
async def image(request: pytest.FixtureRequest, store: Store) -> bytes:
    """Give the index of an image that the store has as `NAME`, for two platforms."""
    docker = request.param == "docker"
    manifests = [await keep_image(store, each, docker=docker) for each in ("amd64", "arm64")]
    media_type = DOCKER_LIST if docker else INDEX
    index = encode({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests})
    await keep(store, index)
    await store.images.create(NAME, target_of(index, media_type), labels={"kind": "demo"})
    return index


def blobs_of(directory: Path) -> set[str]:
    """Return the names of the blobs in a layout or in a directory of skopeo's."""
    return {path.name for path in directory.rglob("*") if len(path.name) == 64}


async def test_skopeo_reads_archives_with_every_digest_unchanged(store: Store, image: bytes, tmp_path: Path) -> None:
    await export_images(store, tmp_path / "a.tar", [NAME])
    # By a name, skopeo finds only OCI's media types.
    source = f"oci-archive:{tmp_path}/a.tar" + ("" if b"docker" in image else ":1")
    raw = await run("skopeo", "inspect", "--raw", source)
    await run(*COPY, "--all", "--preserve-digests", source, f"dir:{tmp_path}/out")
    found = {info.digest.encoded async for info in store.walk()}

    assert image == raw.encode()
    assert found - {target_of(image).digest.encoded} == blobs_of(tmp_path / "out") | manifests_in(tmp_path / "out")


def manifests_in(directory: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob("*.manifest.json")}


async def test_skopeo_reads_a_layout(store: Store, image: bytes, tmp_path: Path) -> None:
    async with DirectoryLayout(tmp_path / "layout") as layout:
        await export_images(store, layout, [NAME])
    source = f"oci:{tmp_path}/layout" + ("" if b"docker" in image else ":1")
    found = json.loads(await run("skopeo", "inspect", "--override-arch", "arm64", source))

    assert "arm64" == found["Architecture"]
    assert 2 == len(found["Layers"])


async def test_docker_archives_are_read_by_skopeo(store: Store, image: bytes, tmp_path: Path) -> None:
    await export_images(store, tmp_path / "a.tar", [NAME], platforms=Platforms("linux/arm64"))
    tags = json.loads(await run("skopeo", "list-tags", f"docker-archive:{tmp_path}/a.tar"))
    target = f"docker-archive:{tmp_path}/a.tar:demo/app:1"
    found = json.loads(await run("skopeo", "inspect", target))
    await run(*COPY, target, f"oci:{tmp_path}/back:x")

    assert ["demo/app:1"] == tags["Tags"]
    assert "arm64" == found["Architecture"]
    assert image


async def test_umoci_unpacks_a_layout(store: Store, tmp_path: Path) -> None:
    entry = await keep_image(store, "amd64", docker=False)
    async with DirectoryLayout(tmp_path / "layout") as layout:
        await export_images(store, layout, manifests=[entry["digest"]], oci_ref_name="it")
    await run("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/layout:it", tmp_path / "bundle")

    assert b"amd64 0 " == (tmp_path / "bundle" / "rootfs" / "0.txt").read_bytes()[:8]


async def test_tar_programs_list_and_unpack_archives(store: Store, image: bytes, tmp_path: Path) -> None:
    await export_images(store, tmp_path / "a.tar.gz", [NAME], compress="gzip")
    for program in ("tar", "bsdtar"):
        listed = (await run(program, "-tzf", tmp_path / "a.tar.gz")).split()
        (tmp_path / program).mkdir()
        await run(program, "-xzf", tmp_path / "a.tar.gz", "-C", tmp_path / program)

        assert ["oci-layout", "index.json", "blobs/", "blobs/sha256/"] == listed[:4]
        assert {info.digest.encoded async for info in store.walk()} == blobs_of(tmp_path / program)
    assert image


async def test_conversion_gives_what_skopeo_takes_for_oci(store: Store, image: bytes, tmp_path: Path) -> None:
    """An export with `oci` holds the same documents that `convert` stores; no layer and no config changes."""
    await export_images(store, tmp_path / "a.tar", [NAME], oci=True, skip_manifest_json=True)
    made = await convert(store, NAME, "docker.io/demo/oci:1")
    raw = await run("skopeo", "inspect", "--raw", f"oci-archive:{tmp_path}/a.tar:1")
    await run(*COPY, "--all", "--preserve-digests", f"oci-archive:{tmp_path}/a.tar:1", f"oci:{tmp_path}/out:1")

    assert await store.get(made.target.digest) == raw.encode()
    assert {"kind": "demo"} == dict(made.labels)
    assert "docker" not in raw
    assert made.target.digest.encoded in blobs_of(tmp_path / "out")
    assert (target_of(image).digest == made.target.digest) == (b"docker" not in image)
