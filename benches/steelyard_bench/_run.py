"""One run: the rows asked for, one after the other, on one ground."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from steelyard_bench._ground import LARGE, check_space, open_ground
from steelyard_bench._inside import run
from steelyard_bench._machine import Clock, Machine, look, weaknesses, weaknesses_of_rows
from steelyard_bench._model import FULL, Contestant, Row, Scale
from steelyard_bench._results import Report, RowResult
from steelyard_bench._rounds import Watch, cpu_seconds, measure
from steelyard_bench._rows import ROWS

__all__ = ("Plan", "measure_rows")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, and where.

    Attributes:
        directory: on the disk in question; the rounds write in a new folder in it.
        backend: the async library that the caller runs on, for the report.
        rows: numbers of `ROWS`, all by default.
        rounds: counted rounds, after a warm-up.
        scale: how much smaller than in the table of goals.
        peers: whether other programs and packages take part.
        command: the command line, for the report.
    """

    directory: Path
    backend: str
    rows: tuple[int, ...] = tuple(ROWS)
    rounds: int = 5
    scale: Scale = FULL
    peers: bool = True
    command: str = ""


async def measure_rows(
    plan: Plan,
    *,
    on_start: Callable[[Machine, list[str]], Awaitable[None]],
    on_row: Callable[[RowResult], Awaitable[None]],
    watch: Watch = lambda _: None,
) -> Report:
    """Run rows and return what they gave. Everything that was written is removed, also when cancelled.

    Args:
        plan: what to run.
        on_start: called with the machine and what makes its numbers weak, before the first row.
        on_row: called with each row when it is done.
        watch: called before each turn of a contestant.

    Raises:
        OSError: the directory is not there or can't be written, or its disk is too full.
    """
    at = datetime.now(UTC)
    machine = await run(look, plan.directory)
    await on_start(machine, weaknesses(machine, divisor=plan.scale.divisor, rounds=plan.rounds))
    rows = [ROWS[number](plan.scale) for number in plan.rows]
    await run(_check_space, plan, rows)
    clock = Clock(cpu_seconds)
    results: list[RowResult] = []
    async with open_ground(plan.directory) as ground:
        for row in rows:
            result = await measure(row, ground, rounds=plan.rounds, peers=plan.peers, watch=watch)
            results.append(result)
            await on_row(result)
    told = weaknesses(machine, divisor=plan.scale.divisor, rounds=plan.rounds, busy=clock.others())
    return Report(
        at=at,
        command=plan.command,
        backend=plan.backend,
        divisor=plan.scale.divisor,
        rounds=plan.rounds,
        machine=msgspec.to_builtins(machine),
        warnings=told + weaknesses_of_rows(results),
        rows=results,
    )


def _check_space(plan: Plan, rows: list[Row[Any]]) -> None:
    """See that there is room: for the sources of a row, the round under way, and all small files ever written."""
    large = small = 0
    for row in rows:
        large = max(large, row.space)
        writers = [entry for entry in row.contestants if _writes(entry) and (plan.peers or entry.kind != "peer")]
        if row.payload is None:
            continue
        if row.payload.size > LARGE:
            # The sources, what a round makes of them, and the archive that some peers want to be given them in.
            copies = 1 + bool(writers) + any(entry.kind == "peer" for entry in writers)
            large = max(large, row.payload.total * copies)
        else:
            rounds = 1 + sum(_rounds(entry, plan.rounds) * entry.share for entry in writers)
            small += int(rounds * row.payload.count)
    check_space(plan.directory, large=large, small=small)


def _writes(entry: Contestant[Any]) -> bool:
    return entry.durable is not None


def _rounds(entry: Contestant[Any], rounds: int) -> int:
    """Return how many rounds a contestant takes part in, the warm-up included."""
    return 1 + (rounds if entry.most_rounds is None else min(rounds, entry.most_rounds))
