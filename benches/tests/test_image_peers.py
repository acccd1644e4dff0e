"""Every program that takes images in or gives them out does it whole."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Scale
from steelyard_bench._rows import ROWS
from steelyard_bench._rows.images import Images

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TINY = Scale(2048)


def _peers(number: int) -> list[Contestant[Any]]:
    return [entry for entry in ROWS[number](TINY).contestants if entry.kind == "peer"]


def _id(contestant: Contestant[Any]) -> str:
    return contestant.name


async def _round(number: int, contestant: Contestant[Any], memory: Path) -> tuple[Images, Path]:
    """Let a contestant do its work once; return what it had, and where it wrote."""
    if contestant.missing is not None and (reason := await run(contestant.missing)):
        pytest.skip(reason)
    (memory / "material").mkdir()
    place = memory / "place"
    place.mkdir()
    async with ROWS[number](TINY).material(memory / "material") as images, contestant.start(images, place) as work:
        done = work()
        if done is not None and not isinstance(done, Mapping):
            await done
    return images, place


@pytest.mark.parametrize("contestant", _peers(15), ids=_id)
async def test_a_peer_takes_every_layer_in(contestant: Contestant[Any], memory: Path) -> None:
    images, place = await _round(15, contestant, memory)
    layers = {path.name for path in (images.layout / "blobs" / "sha256").iterdir()}
    archive = hashlib.sha256(images.archive.read_bytes()).hexdigest()

    stored = {hashlib.sha256(path.read_bytes()).hexdigest() for path in place.rglob("*") if path.is_file()}
    assert ({archive} if contestant.name.startswith("cp") else layers) <= stored


@pytest.mark.parametrize("contestant", [*_peers(17), *ROWS[17](TINY).contestants[:2]], ids=_id)
async def test_each_contestant_returns_every_layer(contestant: Contestant[Any], memory: Path) -> None:
    images, place = await _round(17, contestant, memory)
    layers = {path.name for path in (images.layout / "blobs" / "sha256").iterdir()}

    [path] = place.glob("*.tar")
    with tarfile.open(path) as archive:
        assert layers <= {Path(name).name for name in archive.getnames()}
    assert contestant.durable is not None
