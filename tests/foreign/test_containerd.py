"""containerd, with a daemon of the test's own: it takes what we export, and we take what it exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import Ctr, Image, Steelyard, run

pytestmark = pytest.mark.slow

NAME = "docker.io/demo/app:1"
WHOLE = ("--no-unpack", "--all-platforms")


@pytest.fixture
def ctr(containerd: str, tmp_path: Path) -> Ctr:
    return Ctr(containerd, tmp_path.name.replace("[", "-").replace("]", "-")[:60].strip("-_"))


def test_an_image_goes_to_containerd_and_back_unchanged(
    ours: Steelyard, theirs: Steelyard, image: Image, ctr: Ctr, tmp_path: Path
) -> None:
    ours("import", image.source.split(":")[1], "demo/app:1")
    ours("export", tmp_path / "a.tar", "demo/app:1")
    ctr("images", "import", *WHOLE, tmp_path / "a.tar")
    ctr("images", "export", "--all-platforms", tmp_path / "b.tar", NAME)
    theirs("import", tmp_path / "b.tar")
    theirs("export", tmp_path / "c.tar", "demo/app:1")

    assert image.digest == ctr.digest(NAME) == theirs.digest(NAME)
    assert image.blobs == theirs.blobs()
    assert theirs.complete(NAME)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "c.tar").read_bytes()


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_goes_to_containerd_and_back_through_pipes(
    ours: Steelyard, theirs: Steelyard, images: dict[str, Image], ctr: Ctr, *, packed: bool
) -> None:
    """This ctr unpacks no archives, so gzip stands between; what comes back we unpack ourselves."""
    image = images["index"]
    ours("import", image.source.split(":")[1], "demo/app:1")
    if packed:
        sent = run("gzip", "-dc", stdin=ours("export", "-", "demo/app:1", "--compress", "gzip"))
    else:
        sent = ours("export", "-", "demo/app:1")
    ctr("images", "import", *WHOLE, "-", stdin=sent)
    back = ctr("images", "export", "--all-platforms", "-", NAME)
    theirs("import", "-", stdin=run("gzip", "-c", stdin=back) if packed else back)

    assert image.digest == ctr.digest(NAME) == theirs.digest(NAME)
    assert image.blobs == theirs.blobs()
    assert sent == theirs("export", "-", "demo/app:1")


def test_an_image_of_docker_media_types_goes_round_unchanged(
    ours: Steelyard, theirs: Steelyard, ctr: Ctr, saved: Path, tmp_path: Path
) -> None:
    name = "docker.io/demo/saved:1"
    ctr("images", "import", "--no-unpack", saved)
    ctr("images", "export", tmp_path / "a.tar", name)
    ours("import", tmp_path / "a.tar")
    ours("export", tmp_path / "b.tar", name)
    ctr("images", "import", "--no-unpack", "--base-name", "docker.io/demo/again", tmp_path / "b.tar")
    theirs("import", "-", stdin=ctr("images", "export", "-", name))

    assert ctr.digest(name) == ours.digest(name) == theirs.digest(name)
    assert b"vnd.docker.distribution.manifest.v2+json" in ours("images", "inspect", name)
    assert ours.complete(name)
    assert ours.blobs() == theirs.blobs()


def test_what_docker_saved_is_the_same_image_for_both(ours: Steelyard, ctr: Ctr, saved: Path, tmp_path: Path) -> None:
    """The manifest is made by each; what it names is the same."""
    name = "docker.io/demo/saved:1"
    ours("import", saved)
    ours("export", tmp_path / "a.tar", name)
    ctr("images", "import", "--no-unpack", tmp_path / "a.tar")

    assert ours.digest(name) == ctr.digest(name)
