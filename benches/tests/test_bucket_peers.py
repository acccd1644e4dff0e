"""Every contestant of the rows about a bucket stores every byte, reads every byte, and lists every blob."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from steelyard_bench._gateway import credentials, objects
from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Metrics, Row, Scale
from steelyard_bench._rows import ROWS
from steelyard_bench._rows.buckets import Bucket

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TINY = Scale(1024)
ROWS_HERE: dict[int, Row[Bucket]] = {number: ROWS[number](TINY) for number in (20, 21, 22, 23)}
ENTRIES = [(number, entry) for number, row in ROWS_HERE.items() for entry in row.contestants]


def _cases(*, writes: bool) -> list[Any]:
    return [
        pytest.param(number, entry, id=f"{number}, {entry.name}")
        for number, entry in ENTRIES
        if writes is (entry.durable is not None)
    ]


@pytest.fixture
def anyio_backend() -> str:
    """Run on one backend: `test_rows` has ours on both."""
    return "asyncio"


@pytest.mark.parametrize(("number", "entry"), _cases(writes=True))
async def test_every_blob_is_stored(number: int, entry: Contestant[Bucket], memory: Path) -> None:
    bucket, _ = await _round(number, entry, memory)

    stored = await run(_contents, objects(memory / "place"))
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in bucket.blobs.paths} <= stored


@pytest.mark.parametrize(("number", "entry"), _cases(writes=False))
async def test_every_byte_is_read_and_every_blob_listed(number: int, entry: Contestant[Bucket], memory: Path) -> None:
    _, metrics = await _round(number, entry, memory)

    payload = ROWS_HERE[number].payload
    assert payload is not None
    assert ({"listed_count": payload.count} if number == 23 else {"read_bytes": payload.total}) == metrics


async def test_the_credentials_are_told_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    before = dict(os.environ)

    with credentials():
        inside = {name for name in os.environ if name.startswith("AWS_")}

    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} == inside
    assert before == dict(os.environ)


async def _round(number: int, entry: Contestant[Bucket], memory: Path) -> tuple[Bucket, Metrics | None]:
    """Let a contestant do its work once; return what it had, and what it tells."""
    if entry.missing is not None and (reason := await run(entry.missing)):
        pytest.skip(reason)
    place = memory / "place"
    for folder in (memory / "material", place):
        folder.mkdir()
    row = ROWS_HERE[number]
    async with row.material(memory / "material") as bucket, entry.start(bucket, place) as work:
        done = work()
        return bucket, done if done is None or isinstance(done, Mapping) else await done


def _contents(folder: Path) -> set[str]:
    """Return the SHA-256 of each object."""
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
