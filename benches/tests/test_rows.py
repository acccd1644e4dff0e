"""Every row runs at its smallest on both backends, and gives a number for every contestant and for every goal."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard_bench._ground import open_ground
from steelyard_bench._model import Scale
from steelyard_bench._results import RowResult
from steelyard_bench._rounds import measure
from steelyard_bench._rows import ROWS

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TINY = Scale(2048)
WITH_PROGRAMS = {*range(1, 6), 15, 16, 17, 18, 19, 20, 21, 22, 23}
"""Their peers are in `test_peers`, `test_image_peers` and `test_bucket_peers`; a containerd for every row would take too long."""


async def _run(number: int, directory: Path) -> RowResult:
    async with open_ground(directory) as ground:
        return await measure(ROWS[number](TINY), ground, rounds=1, peers=number not in WITH_PROGRAMS)


@pytest.mark.parametrize("number", ROWS)
async def test_a_row_gives_numbers(number: int, memory: Path) -> None:
    row = await _run(number, memory)

    assert {} == {entry.name: entry.failed for entry in row.contestants if entry.failed}
    silent = [entry.name for entry in row.contestants if not entry.median_seconds and not entry.missing]
    assert [] == silent
    theirs = {entry.name for entry in ROWS[number](TINY).contestants if entry.kind == "peer"}
    absent = {entry.name for entry in row.contestants if entry.missing}
    assert [] == [
        goal
        for goal in row.goals
        if goal.value is None and goal.to not in theirs and absent.isdisjoint({goal.contestant, goal.to})
    ]
