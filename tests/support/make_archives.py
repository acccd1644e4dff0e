"""Makes archives of images: OCI layouts and what `docker save` writes, byte by byte as a test wants them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from typing import Any

from support import make_images
from support.make_images import CONFIG, MANIFEST, encode, manifest_of, named

__all__ = ("Link", "blob", "layout", "one_image", "saved", "tar")

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class Link(str):
    """The target of a symbolic link, as the content of an entry."""

    __slots__ = ()


def tar(entries: Sequence[tuple[str, bytes | Link]]) -> bytes:
    """Return an archive with these entries, in their order; names may come twice."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if isinstance(content, Link):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def blob(data: bytes) -> tuple[str, bytes]:
    """Return a blob of a layout as an entry."""
    return f"blobs/{named(data)['digest'].replace(':', '/')}", data


def layout(index: bytes, blobs: list[bytes]) -> list[tuple[str, bytes | Link]]:
    """Return the entries of an OCI layout."""
    return [*map(blob, blobs), ("index.json", index), ("oci-layout", LAYOUT)]


def one_image(layers: list[bytes], **annotations: str) -> tuple[bytes, bytes, list[bytes]]:
    """Return the index of one image, its manifest, and all its blobs; underscores in names stand for dots."""
    config = b'{"os":"linux","architecture":"amd64"}'
    manifest = manifest_of(layers, config=config)
    given = {key.replace("_", "."): value for key, value in annotations.items()}
    entry = named(manifest, MANIFEST, annotations=given)
    index = encode({"schemaVersion": 2, "manifests": [entry]})
    return index, manifest, [manifest, config, *layers]


def saved(layers: list[bytes], *tags: str, config: dict[str, Any] | None = None) -> list[tuple[str, bytes | Link]]:
    """Return the entries of `docker save`, in the old shape: layers in directories, each after the first a link."""
    digests = [named(layer)["digest"] for layer in layers]
    value = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": digests}}
    raw = encode(value if config is None else config)
    name = f"{named(raw, CONFIG)['digest'].partition(':')[2]}.json"
    entries: list[tuple[str, bytes | Link]] = []
    paths = []
    for number, layer in enumerate(layers):
        hexadecimal = digests[number].partition(":")[2]
        paths.append(f"layer{number}/layer.tar")
        entries += [(f"layer{number}/VERSION", b"1.0"), (f"layer{number}/json", b"{}")]
        entries += [(f"{hexadecimal}.tar", layer), (paths[-1], Link(f"../{hexadecimal}.tar"))]
    manifest = encode([{"Config": name, "RepoTags": list(tags) or None, "Layers": paths}])
    return [*entries, (name, raw), ("manifest.json", manifest), ("repositories", b"{}")]


def two_platforms() -> tuple[bytes, list[bytes]]:
    """Return the index of a layout with an image for two platforms, and all blobs."""
    inner, blobs = make_images.two_platforms()
    entry = named(
        inner, "application/vnd.oci.image.index.v1+json", annotations={"org.opencontainers.image.ref.name": "demo:1"}
    )
    return encode({"schemaVersion": 2, "manifests": [entry]}), blobs
