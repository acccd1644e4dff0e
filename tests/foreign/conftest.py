"""Images made of real files of the machine by umoci, skopeo, buildah and containerd; once for all tests."""

from __future__ import annotations

import email
import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.fork_server import ForkServer

from .programs import Image, Steelyard, blobs_in, buildah, raw, run, skopeo

LAYERS = tuple(Path(module.__file__ or "").parent for module in (json, importlib, email))
"""Folders that become a layer each."""

KINDS = ("gzip", "zstd", "plain", "index")
"""Images of OCI, by the compression of their layers; the last one is for two platforms."""


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Give the process that all runs of our command are forked from."""
    fork_server = ForkServer()
    yield fork_server
    fork_server.close()


@pytest.fixture
def ours(tmp_path: Path, fork_server: ForkServer) -> Steelyard:
    """Give our command on a store that is not there yet."""
    return Steelyard(tmp_path / "store", fork_server)


@pytest.fixture
def theirs(tmp_path: Path, fork_server: ForkServer) -> Steelyard:
    """Give our command on another store, for the way back."""
    return Steelyard(tmp_path / "other-store", fork_server)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with ``umoci/``, a layout of umoci's: three layers, as ``amd64`` and as ``arm64``."""
    folder = tmp_path_factory.mktemp("images")
    layout = folder / "umoci"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:base")
    run("umoci", "config", "--image", f"{layout}:base", "--tag", "amd64", "--os", "linux", "--architecture", "amd64")
    for layer in LAYERS:
        run("umoci", "insert", "--image", f"{layout}:amd64", layer, f"/lib/{layer.name}")
    run("umoci", "config", "--image", f"{layout}:amd64", "--tag", "arm64", "--architecture", "arm64")
    run("umoci", "rm", "--image", f"{layout}:base")
    run("umoci", "gc", "--layout", layout)
    return folder


@pytest.fixture(scope="session")
def images(made: Path) -> dict[str, Image]:
    """Give images by their kinds, each alone in a layout."""
    source = f"oci:{made}/umoci:amd64"
    skopeo("copy", source, f"oci:{made}/gzip:demo")
    skopeo("copy", "--dest-compress", "--dest-compress-format", "zstd", source, f"oci:{made}/zstd:demo")
    # From a layout to a layout, skopeo unpacks nothing.
    skopeo("copy", "--dest-decompress", source, f"dir:{made}/unpacked")
    skopeo("copy", "--dest-oci-accept-uncompressed-layers", f"dir:{made}/unpacked", f"oci:{made}/plain:demo")
    buildah(made, "manifest", "create", "two")
    for tag in ("amd64", "arm64"):
        buildah(made, "manifest", "add", "two", f"oci:{made}/umoci:{tag}")
    buildah(made, "manifest", "push", "--all", "two", f"oci:{made}/index:demo")
    return {kind: _image(made / kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def image(request: pytest.FixtureRequest, images: dict[str, Image]) -> Image:
    """Give an image of each kind."""
    return images[request.param]


@pytest.fixture(scope="session")
def saved(made: Path) -> Path:
    """Give an archive as ``docker save`` writes it, of one image with a name, by skopeo."""
    archive = made / "saved.tar"
    skopeo("copy", f"oci:{made}/umoci:amd64", f"docker-archive:{archive}:demo/saved:1")
    return archive


def _image(layout: Path) -> Image:
    index = json.loads((layout / "index.json").read_bytes())
    [entry] = index["manifests"]
    source = f"oci:{layout}:demo"
    assert entry["size"] == len(raw(source))
    return Image(source=source, digest=entry["digest"], blobs=blobs_in(layout))
