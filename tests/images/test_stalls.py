"""Archives with tens of thousands of blobs: the event loop runs while they are imported and exported.

The tests judge the longest time that the loop's own thread computes between two beats of a timer, as a share of all that it
computes.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from pathlib import Path

import pytest
from support.archives import pieces
from support.make_archives import layout, one_image, tar
from support.make_images import encode
from support.stalls import watched

from steelyard import LocalStore
from steelyard._runtime.calls import run
from steelyard.images import export_images, import_images

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

IMAGES, LAYERS = 4, 5000
LIMIT = 0.08
"""Up to 0.04 was seen, on a busy machine; 0.2 where all layers of an image are looked at without letting others run."""
ATTEMPTS = 3


async def longest_step(work: Awaitable[object]) -> float:
    """Return the most that the loop's thread computed between two beats, as a share of all that it computed."""
    seen = await watched(work)
    return seen.longest / seen.thread


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an archive of images with many layers each. Look, don't touch."""
    entries, blobs = [], []
    for number in range(IMAGES):
        layers = [f"{number} {layer}".encode() for layer in range(LAYERS)]
        index, _, own = one_image(layers, org_opencontainers_image_ref_name=f"demo:{number}")
        entries += json.loads(index)["manifests"]
        blobs += own
    index = encode({"schemaVersion": 2, "manifests": entries})
    path = tmp_path_factory.mktemp("archive") / "archive.tar"
    path.write_bytes(tar(layout(index, list(dict.fromkeys(blobs)))))
    return path


async def test_the_loop_goes_on_while_many_blobs_come_and_go(archive: Path, tmp_path: Path) -> None:
    names = [f"docker.io/library/demo:{number}" for number in range(IMAGES)]
    data = await run(archive.read_bytes)
    best = dict.fromkeys(("import", "import again", "stream", "export"), float("inf"))
    for attempt in range(ATTEMPTS):
        roots = [tmp_path / f"{attempt}{kind}" for kind in "ab"]
        async with (
            LocalStore(roots[0], durability="process-crash") as store,
            LocalStore(roots[1], durability="process-crash") as other,
        ):
            for name, work in {
                "import": import_images(store, archive),
                "import again": import_images(store, archive),
                "stream": import_images(other, pieces(data, 1 << 20)),
                "export": export_images(store, tmp_path / f"{attempt}.tar", names),
            }.items():
                best[name] = min(best[name], await longest_step(work))
        if max(best.values()) <= LIMIT:
            break
    print("longest steps:", *(f"{name} {share:.2%}" for name, share in best.items()))

    assert {} == {name: share for name, share in best.items() if share > LIMIT}
