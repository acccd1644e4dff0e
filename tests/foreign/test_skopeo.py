"""skopeo's four forms, there and back: every digest stays what it was."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from .programs import Image, Steelyard, blobs_in, raw, run, skopeo

pytestmark = pytest.mark.slow

NAME = "docker.io/demo/app:1"
WAYS = ("file", "pipe", "gzip", "gzip pipe", "zstd", "xz")


def bring(ours: Steelyard, archive: Path, way: str, *words: str) -> None:
    """Import an archive as it is or compressed by another program, from the file or through a pipe."""
    if way in {"gzip", "zstd", "xz"}:
        packed = archive.with_name(f"{archive.name}.{way}")
        packed.write_bytes(run(way, "--stdout", archive))
        ours("import", packed, *words)
    elif way == "file":
        ours("import", archive, *words)
    else:
        data = archive.read_bytes()
        ours("import", "-", *words, stdin=data if way == "pipe" else gzip.compress(data, 1))


@pytest.mark.parametrize("way", WAYS)
def test_an_oci_archive_of_skopeo_comes_whole_every_way(
    ours: Steelyard, images: dict[str, Image], tmp_path: Path, way: str
) -> None:
    skopeo("copy", images["gzip"].source, f"oci-archive:{tmp_path}/a.tar:app:1")

    bring(ours, tmp_path / "a.tar", way, "demo/app:1")

    assert images["gzip"].digest == ours.digest(NAME)
    assert images["gzip"].blobs == ours.blobs()
    assert ours.complete(NAME)


def test_every_kind_of_image_goes_through_archives_unchanged(ours: Steelyard, image: Image, tmp_path: Path) -> None:
    skopeo("copy", "--all", "--preserve-digests", image.source, f"oci-archive:{tmp_path}/a.tar:app:1")
    ours("import", tmp_path / "a.tar", "demo/app:1")
    ours("export", tmp_path / "b.tar", "demo/app:1")
    copied = f"oci:{tmp_path}/copied:x"
    skopeo("copy", "--all", "--preserve-digests", f"oci-archive:{tmp_path}/b.tar:1", copied)

    assert image.digest == ours.digest(NAME)
    assert ours.complete(NAME)
    assert raw(image.source) == raw(f"oci-archive:{tmp_path}/b.tar:1") == raw(copied)
    assert image.blobs == ours.blobs() == blobs_in(tmp_path / "copied")


def test_every_kind_of_image_goes_through_layouts_unchanged(ours: Steelyard, image: Image, tmp_path: Path) -> None:
    ours("import", image.source.split(":")[1], "demo/app:1")
    ours("export", f"{tmp_path}/layout/", "demo/app:1")
    source = f"oci:{tmp_path}/layout:1"
    skopeo("copy", "--all", "--preserve-digests", source, f"oci-archive:{tmp_path}/a.tar:x")

    assert raw(image.source) == raw(source) == raw(f"oci-archive:{tmp_path}/a.tar:x")
    assert image.blobs == ours.blobs() == blobs_in(tmp_path / "layout")


def test_every_kind_of_image_goes_through_a_dir_of_skopeos(
    ours: Steelyard, theirs: Steelyard, image: Image, tmp_path: Path
) -> None:
    ours("import", image.source.split(":")[1], "demo/app:1")
    ours("export", tmp_path / "a.tar", "demo/app:1")
    skopeo("copy", "--all", "--preserve-digests", f"oci-archive:{tmp_path}/a.tar:1", f"dir:{tmp_path}/dir")
    back = f"oci-archive:{tmp_path}/b.tar:1"
    skopeo("copy", "--all", "--preserve-digests", f"dir:{tmp_path}/dir", back)
    theirs("import", tmp_path / "b.tar", "demo/app:1")
    theirs("export", tmp_path / "c.tar", "demo/app:1")

    assert image.digest == theirs.digest(NAME)
    assert image.blobs == theirs.blobs()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "c.tar").read_bytes()


@pytest.mark.parametrize("way", ["file", "pipe", "gzip", "gzip pipe"])
def test_a_docker_archive_of_skopeo_comes_whole_every_way(
    ours: Steelyard, saved: Path, tmp_path: Path, way: str
) -> None:
    archive = tmp_path / "d.tar"
    archive.write_bytes(saved.read_bytes())

    bring(ours, archive, way)

    assert ours.complete("docker.io/demo/saved:1")
    assert config_of(f"docker-archive:{saved}") == _ours_config(ours, "docker.io/demo/saved:1")


def test_a_docker_archive_goes_out_as_one(ours: Steelyard, theirs: Steelyard, saved: Path, tmp_path: Path) -> None:
    ours("import", saved)
    ours("export", tmp_path / "out.tar", "demo/saved:1")
    source = f"docker-archive:{tmp_path}/out.tar:demo/saved:1"
    skopeo("copy", source, f"docker-archive:{tmp_path}/again.tar:demo/saved:1")
    theirs("import", tmp_path / "again.tar")

    assert config_of(f"docker-archive:{saved}") == config_of(source)
    assert ours.digest("docker.io/demo/saved:1") == theirs.digest("docker.io/demo/saved:1")
    assert ours.blobs() == theirs.blobs()


def test_an_oci_image_goes_out_as_a_docker_archive(ours: Steelyard, images: dict[str, Image], tmp_path: Path) -> None:
    ours("import", images["gzip"].source.split(":")[1], "demo/app:1")
    ours("export", tmp_path / "a.tar", "demo/app:1")
    skopeo("copy", f"docker-archive:{tmp_path}/a.tar:demo/app:1", f"dir:{tmp_path}/dir")

    before, after = (config_of(source) for source in (images["gzip"].source, f"dir:{tmp_path}/dir"))
    assert before["rootfs"] == after["rootfs"]
    assert frozenset(before["rootfs"]["diff_ids"]) <= blobs_in(tmp_path / "dir")


def config_of(source: str) -> dict[str, Any]:
    """Return an image's config, by skopeo."""
    found = json.loads(skopeo("inspect", "--config", "--raw", source))
    assert isinstance(found, dict)
    return found


def _ours_config(ours: Steelyard, name: str) -> dict[str, Any]:
    manifest = json.loads(ours("get", ours.digest(name)))
    found = json.loads(ours("get", manifest["config"]["digest"]))
    assert isinstance(found, dict)
    return found
