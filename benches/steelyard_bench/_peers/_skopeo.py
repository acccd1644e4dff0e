"""skopeo: copies an image from layout to layout, each file a layer of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from steelyard_bench._inside import run
from steelyard_bench._model import Work
from steelyard_bench._peers._layout import write_layout
from steelyard_bench._peers._shape import Peer, needs_program, on_thread

__all__ = ("skopeo", "skopeo_copy")


def skopeo_copy() -> Peer:
    """Copy the files as the layers of one image."""

    @asynccontextmanager
    async def start(files: Sequence[Path], place: Path) -> AsyncIterator[Work]:
        await run(write_layout, files, place / "from")
        yield on_thread(partial(skopeo, place, f"oci:{place / 'from'}:bench", f"oci:{place / 'to'}:bench"))

    return Peer(
        name="skopeo copy",
        start=start,
        durable=True,
        note="all files as layers of one image, layout to layout; fsync of each blob, not of its folder",
        most=100,
        most_rounds=2,
        available=needs_program("skopeo"),
    )


def skopeo(place: Path, source: str, target: str) -> None:
    """Copy an image, with everything that is temporary in a folder."""
    command = [
        "skopeo",
        "--insecure-policy",  # a machine without a policy file copies nothing else
        "--tmpdir",
        str(place),
        "copy",
        "--quiet",
        "--dest-oci-accept-uncompressed-layers",  # or it would compress them
        source,
        target,
    ]
    # It keeps a cache of what it knows of blobs; ours are not to get into the one of this machine.
    environment = os.environ | {"XDG_DATA_HOME": str(place), "_CONTAINERS_ROOTLESS_UID": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"skopeo copy: {done.stderr.decode(errors='replace').strip()}")
