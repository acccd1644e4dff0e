"""Images for a containerd to take in, with layers that can be unpacked."""

from __future__ import annotations

import gzip
import os
import subprocess
from dataclasses import dataclass
from itertools import count

from support.make_archives import layout, tar
from support.make_images import CONFIG, LAYER, MANIFEST, encode, named

from .wire import sha256

__all__ = ("Made", "layer", "make", "may_mount")

_numbers = count()


@dataclass(frozen=True)
class Made:
    """An image, alone in an archive.

    Attributes:
        name: its name.
        digest: of its manifest.
        blobs: the digests of manifest, config and layers, and their bytes.
        archive: an OCI layout as tar.
    """

    name: str
    digest: str
    blobs: dict[str, bytes]
    archive: bytes


def make(name: str, *layers: bytes) -> Made:
    """Make an image of layers, each a tar archive in gzip."""
    plain = [sha256(gzip.decompress(layer)) for layer in layers]
    config = encode({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": plain}})
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": named(config, CONFIG),
            "layers": [named(layer, f"{LAYER}+gzip") for layer in layers],
        }
    )
    entry = named(manifest, MANIFEST, annotations={"io.containerd.image.name": name})
    blobs = [manifest, config, *layers]
    archive = tar(layout(encode({"schemaVersion": 2, "manifests": [entry]}), blobs))
    return Made(name, sha256(manifest), {sha256(blob): blob for blob in blobs}, archive)


def layer(size: int) -> bytes:
    """Return a layer that no other one is like, with a file of that size."""
    return gzip.compress(tar([(f"data/{next(_numbers)}", os.urandom(size))]), compresslevel=1)


def may_mount() -> bool:
    """Return whether this process may mount, in a namespace of its own."""
    found = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return found.returncode == 0
