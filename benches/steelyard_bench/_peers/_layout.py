"""Files as the layers of an OCI image: the only way in that some programs have."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ("write_archive", "write_layout")

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def write_layout(files: Sequence[Path], folder: Path) -> None:
    """Make an OCI image layout in a folder, whose layers are links to the files."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers, documents = _image(files)
    for encoded, file in layers.items():
        # Not a hard link: what a round wrote is cut to nothing after it, and the files are needed.
        (blobs / encoded).symlink_to(file)
    for name, content in documents.items():
        (folder / name).write_bytes(content)


def write_archive(files: Sequence[Path], path: Path) -> None:
    """Make an OCI image archive, whose layers are the files."""
    layers, documents = _image(files)
    with tarfile.open(path, "w") as archive:
        for name, content in documents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for encoded, file in layers.items():
            archive.add(file, f"blobs/sha256/{encoded}", recursive=False)


def _image(files: Sequence[Path]) -> tuple[dict[str, Path], dict[str, bytes]]:
    """Return the layers by their digest, and everything else by its name in a layout."""
    layers = {_digest(file): file for file in files}
    documents: dict[str, bytes] = {}

    def add(media_type: str, content: object) -> dict[str, Any]:
        encoded = json.dumps(content).encode()
        digest = hashlib.sha256(encoded).hexdigest()
        documents[f"blobs/sha256/{digest}"] = encoded
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(encoded)}

    described = [
        {"mediaType": _LAYER, "digest": f"sha256:{encoded}", "size": file.stat().st_size}
        for encoded, file in layers.items()
    ]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in described]}
    config = add(_CONFIG, {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})
    manifest = add(_MANIFEST, {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": described}) | {
        "annotations": {"org.opencontainers.image.ref.name": "bench", "io.containerd.image.name": "bench:latest"}
    }
    documents["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    documents["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    return layers, documents


@cache
def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
