"""buildah, with its data in a folder of the test's own: it unpacks and repacks layers, so only the content stays the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import Image, Steelyard, buildah
from .test_skopeo import config_of

pytestmark = pytest.mark.slow

NAME = "docker.io/demo/app:1"


def test_buildah_pulls_what_we_wrote_and_we_read_what_it_pushed(
    ours: Steelyard, images: dict[str, Image], tmp_path: Path
) -> None:
    ours("import", images["gzip"].source.split(":")[1], "demo/app:1")
    ours("export", tmp_path / "a.tar", "demo/app:1")
    pulled = buildah(tmp_path, "pull", "--quiet", f"oci-archive:{tmp_path}/a.tar:1").decode().strip()
    buildah(tmp_path, "push", "--quiet", pulled, f"oci-archive:{tmp_path}/b.tar:demo/app:2")
    buildah(tmp_path, "push", "--quiet", pulled, f"docker-archive:{tmp_path}/c.tar:demo/app:3")
    ours("import", tmp_path / "b.tar")
    ours("import", tmp_path / "c.tar")

    assert ours.complete(NAME, "docker.io/demo/app:2", "docker.io/demo/app:3")
    before = config_of(images["gzip"].source)
    for tag in ("2", "3"):
        ours("export", tmp_path / f"{tag}.tar", f"demo/app:{tag}")
        assert before["rootfs"] == config_of(f"docker-archive:{tmp_path}/{tag}.tar:demo/app:{tag}")["rootfs"]
