"""A run: rows one after the other, told as they end, and nothing left of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard_bench._machine import Machine
from steelyard_bench._results import RowResult
from steelyard_bench._run import Plan, measure_rows

from .making import TINY, names_in


@pytest.mark.anyio
async def test_a_run_tells_of_its_rows_and_leaves_nothing(memory: Path, anyio_backend: str) -> None:
    rows: list[RowResult] = []

    async def on_start(machine: Machine, warnings: list[str]) -> None:
        assert machine.cores
        assert any("divided by" in warning for warning in warnings)

    async def on_row(row: RowResult) -> None:
        rows.append(row)

    plan = Plan(directory=memory, backend=anyio_backend, rows=(4, 1), rounds=1, scale=TINY, peers=False, images=False)
    report = await measure_rows(plan, on_start=on_start, on_row=on_row)

    assert [4, 1] == [row.number for row in report.rows]
    assert report.rows == rows
    assert [] == names_in(memory)
