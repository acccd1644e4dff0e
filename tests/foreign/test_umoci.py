"""umoci builds on what we wrote, and we read what it built."""

from __future__ import annotations

import filecmp
import hashlib
from pathlib import Path

import pytest

from .conftest import LAYERS
from .programs import Image, Steelyard, blobs_in, raw, run

pytestmark = pytest.mark.slow

NAME = "docker.io/demo/app:1"


def test_a_layout_of_umoci_comes_with_all_its_images(ours: Steelyard, made: Path) -> None:
    ours("import", made / "umoci", "--prefix", "demo/app")

    assert ours.complete("docker.io/demo/app:amd64", "docker.io/demo/app:arm64")
    assert blobs_in(made / "umoci") == ours.blobs()


def test_umoci_unpacks_what_we_wrote_to_the_very_files(ours: Steelyard, made: Path, tmp_path: Path) -> None:
    ours("import", made / "umoci", "--prefix", "demo/app")
    ours("export", f"{tmp_path}/layout/", "demo/app:amd64")
    run("umoci", "unpack", "--rootless", "--image", f"{tmp_path}/layout:amd64", tmp_path / "bundle")

    for layer in LAYERS:
        files = [str(path.relative_to(layer)) for path in layer.rglob("*") if path.is_file()]
        unpacked = tmp_path / "bundle" / "rootfs" / "lib" / layer.name
        assert files
        assert (files, [], []) == filecmp.cmpfiles(layer, unpacked, files, shallow=False)


def test_what_umoci_adds_to_our_layout_is_all_that_comes(
    ours: Steelyard, images: dict[str, Image], tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    ours("import", images["gzip"].source.split(":")[1], "demo/app:1")
    ours("export", f"{layout}/", "demo/app:1")
    run("umoci", "insert", "--image", f"{layout}:1", "--tag", "2", __file__, "/test.py")
    # umoci copies our annotations, and with them the whole name, to what it builds; its own tag tells which is which.
    digest = hashlib.sha256(raw(f"oci:{layout}:2")).hexdigest()
    named = "docker.io/demo/app:2"
    found = ours.document("import", layout)
    blobs = {each["digest"]: each["status"] for each in found["imported"] if each["type"] == "imported_blob"}

    assert {digest: "new" if digest not in images["gzip"].blobs else "present" for digest in blobs} == blobs
    assert 3 == list(blobs.values()).count("new")
    assert ours.complete(NAME, named)
    assert f"sha256:{digest}" == ours.digest(named)
