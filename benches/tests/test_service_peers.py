"""Every contestant of the rows about a socket stores every blob, and gets every byte."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Scale
from steelyard_bench._rows import ROWS
from steelyard_bench._rows.services import Served

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TINY = Scale(512)
ENTRIES = [
    pytest.param(number, entry, id=f"{number}, {entry.name}")
    for number in (18, 19)
    for entry in ROWS[number](TINY).contestants
]


@pytest.fixture
def anyio_backend() -> str:
    """Run on one backend: `test_rows` has ours on both."""
    return "asyncio"


@pytest.mark.parametrize(("number", "entry"), [each for each in ENTRIES if "write" in str(each.id)])
async def test_every_blob_is_stored(number: int, entry: Contestant[Any], memory: Path) -> None:
    served, place = await _round(number, entry, memory)

    stored = {hashlib.sha256(path.read_bytes()).digest() for path in place.glob("**/sha256/*")}
    assert {hashlib.sha256(data).digest() for data in served.data} <= stored


@pytest.mark.parametrize(("number", "entry"), [each for each in ENTRIES if "read" in str(each.id)])
async def test_every_byte_of_a_large_blob_is_read(number: int, entry: Contestant[Any], memory: Path) -> None:
    """`get`, by which our client reads small ones, verifies them itself; the plain client only counts."""
    served, _ = await _round(number, entry, memory)

    if "RemoteStore" in entry.name and len(served.data) == 1:
        assert served.data[0] == served.memory


async def _round(number: int, entry: Contestant[Any], memory: Path) -> tuple[Served, Path]:
    """Let a contestant do its work once; return what it had, and where it wrote."""
    if entry.missing is not None and (reason := await run(entry.missing)):
        pytest.skip(reason)
    place = memory / "place"
    for folder in (memory / "material", place):
        folder.mkdir()
    async with ROWS[number](TINY).material(memory / "material") as served, entry.start(served, place) as work:
        done = work()
        if done is not None and not isinstance(done, Mapping):
            await done
    return served, place
