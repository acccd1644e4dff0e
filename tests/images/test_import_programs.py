"""Import of what programs wrote that are not ours: skopeo, umoci, GNU tar."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from steelyard import MemoryStore
from steelyard.images import check, import_images

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not all(map(shutil.which, ("skopeo", "umoci", "tar"))), reason="needs skopeo, umoci and tar"),
]

NAME = "docker.io/demo/app:1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with a layout that umoci made of real files, and what other programs made of it."""
    top = tmp_path_factory.mktemp("made")
    files = top / "files"
    shutil.copytree(Path(json.__file__).parent, files / "json", ignore=shutil.ignore_patterns("__pycache__"))
    for words in (
        "umoci init --layout layout",
        "umoci new --image layout:v1",
        "tar -cf layer.tar -C files json",
        "umoci raw add-layer --image layout:v1 layer.tar",
        "umoci raw add-layer --image layout:v1 layer.tar",
        f"skopeo --insecure-policy copy -q oci:layout:v1 oci-archive:oci.tar:{NAME}",
        f"skopeo --insecure-policy copy -q oci:layout:v1 docker-archive:docker.tar:{NAME}",
        "tar -C layout -cf plain.tar .",
        "tar -C layout --format=pax -czf pax.tar.gz blobs index.json oci-layout",
        "tar -C layout --format=gnu -cJf gnu.tar.xz index.json oci-layout blobs",
    ):
        subprocess.run(words.split(), cwd=top, check=True, capture_output=True)
    return top


def manifest_of(made: Path) -> str:
    """Return the digest of the image's manifest, as umoci says."""
    index = json.loads((made / "layout" / "index.json").read_bytes())
    return str(index["manifests"][0]["digest"])


@pytest.mark.parametrize("source", ["layout", "plain.tar", "pax.tar.gz", "gnu.tar.xz"])
async def test_a_layout_of_umoci_comes_in_every_wrapping(made: Path, source: str) -> None:
    store = MemoryStore()
    found = await import_images(store, made / source, name=NAME)

    assert manifest_of(made) == str(found.images[0].target.digest)
    assert (await check(store, NAME)).complete


@pytest.mark.parametrize("source", ["oci.tar", "docker.tar"])
async def test_archives_of_skopeo_come_with_their_names(made: Path, source: str) -> None:
    store = MemoryStore()
    found = await import_images(store, made / source)
    other = MemoryStore()
    with (made / source).open("rb") as file:

        class Stream:
            def __aiter__(self) -> Stream:
                return self

            async def __anext__(self) -> bytes:
                if data := file.read(10_000):
                    return data
                raise StopAsyncIteration

        streamed = await import_images(other, Stream())

    assert (NAME,) == found.names == streamed.names
    assert found.images[0].target == streamed.images[0].target
    if source == "oci.tar":
        assert manifest_of(made) == str(found.images[0].target.digest)
    assert (await check(store, NAME)).complete
