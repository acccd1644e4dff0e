"""A short trial of an installed wheel, for each Python that `.ci/run pythons` finds: `python .ci/smoke.py`."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import anyio

from steelyard import LocalStore, NotFound
from steelyard.containerd import RemoteStore
from steelyard.containerd.service import Server
from steelyard.images import import_images

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NAME = "example.com/smoke:1"


def described(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def write_image(path: Path) -> None:
    """Write an archive with an image of one layer."""
    layer = bytes(10_000)
    plain = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [plain]}}
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [described(layer, "application/vnd.oci.image.layer.v1.tar")],
        }
    ).encode()
    named = described(manifest, MANIFEST) | {"annotations": {"io.containerd.image.name": NAME}}
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [named]}).encode(),
    }
    files |= {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in (layer, config, manifest)}
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


async def main(folder: Path) -> None:
    data = b"ten pounds of wool" * 10_000
    async with LocalStore(folder / "store") as store:
        digest = (await store.put(data, labels={"weighed": "yes"})).digest
        assert digest.encoded == hashlib.sha256(data).hexdigest()
        assert data == await store.get(digest)
        async with await store.writer("ref") as writer:
            await writer.write(data[:-1])
            written = (await writer.commit()).digest
        assert {digest, written} == {info.digest async for info in store.walk()}
        write_image(folder / "image.tar")
        await import_images(store, folder / "image.tar")
        assert [NAME] == [image.name for image in await store.images.list()]
        async with Server(store, folder / "s") as server, RemoteStore(server.address) as remote:
            assert data == await remote.get(digest)
        await store.delete(written)
        try:
            await store.get(written)
        except NotFound:
            return
        raise AssertionError(written)


if __name__ == "__main__":
    for backend in ("asyncio", "trio"):
        with tempfile.TemporaryDirectory() as scratch:
            anyio.run(main, Path(scratch), backend=backend)
    print(f"Python {sys.version.split()[0]}: asyncio and trio work")
