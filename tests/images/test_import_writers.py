"""Archives as several programs write them, our own among them, come in from files and from streams."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from support.archives import pieces
from support.make_archives import LAYOUT, blob, layout, tar
from support.make_images import CONFIG, LAYER, MANIFEST, encode, named

from steelyard import MemoryStore, Store
from steelyard.errors import IncompleteImage
from steelyard.images import Imported, check, export_images, import_images

pytestmark = pytest.mark.anyio

FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
NAME = "docker.io/library/demo:1"


@pytest.fixture(params=["file", "stream"])
def form(request: pytest.FixtureRequest) -> str:
    """Give both ways in which an archive can be read."""
    return str(request.param)


async def bring(store: Store, data: bytes, tmp_path: Path, form: str, **options: Any) -> Imported:
    (tmp_path / "archive.tar").write_bytes(data)
    return await import_images(store, tmp_path / "archive.tar" if form == "file" else pieces(data, 700), **options)


async def layers_of(store: Store, found: Imported) -> list[str]:
    (image,) = found.images
    document = (await check(store, image.target)).present[0].document
    assert document is not None
    return [each["digest"] for each in document.value()["layers"]]


def saved_parts(layers: list[bytes], **config: Any) -> tuple[bytes, dict[str, Any]]:
    """Return a config for these layers, and the entry of ``manifest.json`` without its layers."""
    raw = encode({"rootfs": {"type": "layers", "diff_ids": [named(layer)["digest"] for layer in layers]}, **config})
    return raw, {"Config": blob(raw)[0], "RepoTags": None}


async def test_an_index_of_nothing_leaves_the_word_to_manifest_json(store: Store, tmp_path: Path, form: str) -> None:
    """`docker save ID` of Docker 25 writes such an index for an image without a name."""
    config, entry = saved_parts([b"layer"], os="linux", architecture="amd64")
    manifest = encode([{**entry, "Layers": [blob(b"layer")[0]]}])
    empty = b'{"schemaVersion":2,"manifests":null}'
    entries = [("oci-layout", LAYOUT), ("index.json", empty), blob(b"layer"), blob(config), ("manifest.json", manifest)]

    found = await bring(store, tar(entries), tmp_path, form, name="demo:1")

    assert (NAME,) == found.names
    assert [named(b"layer")["digest"]] == await layers_of(store, found)


async def test_an_image_without_a_platform_comes_in(store: Store, tmp_path: Path, form: str) -> None:
    """`crane append` without a base writes one."""
    layer = gzip.compress(b"layer", mtime=0)
    config, _ = saved_parts([b"layer"], os="", architecture="", created="0001-01-01T00:00:00Z", config={})
    name = named(config)["digest"]
    manifest = encode([{"Config": name, "RepoTags": ["demo:1"], "Layers": ["layer.tar.gz"]}])

    data = tar([(name, config), ("layer.tar.gz", layer), ("manifest.json", manifest)])
    found = await bring(store, data, tmp_path, form, name=None)

    assert (NAME,) == found.names
    assert [named(layer)["digest"]] == await layers_of(store, found)


async def test_what_was_exported_without_foreign_layers_comes_back(store: Store, tmp_path: Path, form: str) -> None:
    config = b'{"os":"linux","architecture":"amd64"}'
    layers = [named(b"secret", FOREIGN), named(b"free", LAYER)]
    manifest = encode({"schemaVersion": 2, "mediaType": MANIFEST, "config": named(config, CONFIG), "layers": layers})
    index = encode({"schemaVersion": 2, "manifests": [named(manifest, MANIFEST)]})
    whole = tar(layout(index, [config, manifest, b"secret", b"free"]))
    await import_images(store, pieces(whole), name="demo:1")
    await export_images(store, tmp_path / "out.tar", [NAME], skip_non_distributable=True)

    async with MemoryStore() as other:
        found = await bring(other, (tmp_path / "out.tar").read_bytes(), tmp_path, form)

        assert (NAME,) == found.names
        assert ((named(b"secret")["digest"],),) == tuple(image.absent for image in found.images)
        assert not (await check(other, NAME)).complete
    # What its maker does want passed on has to be there as before.
    lacking = tar(layout(index, [config, manifest, b"secret"]))
    async with MemoryStore() as other:
        with pytest.raises(IncompleteImage, match=named(b"free")["digest"]):
            await bring(other, lacking, tmp_path, form)
