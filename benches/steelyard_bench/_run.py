"""One run: the rows asked for, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from steelyard_bench._disks import KINDS, Disk, DiskError, bytes_needed, fresh, refusal
from steelyard_bench._ground import LARGE, SMALL_FILE_SPACE, Ground, check_space, open_ground
from steelyard_bench._inside import run
from steelyard_bench._machine import Clock, Machine, look, weaknesses, weaknesses_of_rows
from steelyard_bench._model import FULL, Contestant, Payload, Row, Scale
from steelyard_bench._results import Report, RowResult
from steelyard_bench._rounds import Watch, cpu_seconds, measure
from steelyard_bench._rows import ROWS

__all__ = ("Plan", "measure_rows")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows to run, and the place.

    Attributes:
        directory: on the disk in question; the rounds write in a new folder in it.
        backend: the async library that the caller runs on, for the report.
        rows: numbers of `ROWS`, all by default.
        rounds: counted rounds, after a warm-up.
        scale: how much smaller than in the table of goals.
        peers: whether other programs and packages take part.
        images: whether rows of many small files run on fresh file systems in image files, where that is possible.
        command: the command line, for the report.
    """

    directory: Path
    backend: str
    rows: tuple[int, ...] = tuple(ROWS)
    rounds: int = 5
    scale: Scale = FULL
    peers: bool = True
    images: bool = True
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
        on_row: called with each row when it is done; with a row of many small files for each file system.
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

    async def on_result(result: RowResult) -> None:
        results.append(result)
        await on_row(result)

    async with open_ground(plan.directory) as ground:
        for row in rows:
            await _measure_row(plan, row, ground, watch, on_result)
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


async def _measure_row(
    plan: Plan, row: Row[Any], ground: Ground, watch: Watch, on_result: Callable[[RowResult], Awaitable[None]]
) -> None:
    """Run a row: on each fresh file system if it is one of many small files and they can be had, else in the directory."""
    measured_on = partial(measure, row, rounds=plan.rounds, peers=plan.peers, watch=watch)
    refused: dict[str, str] = {}
    measured: list[RowResult] = []
    for kind in KINDS if row.small_files and plan.images else ():
        disk = Disk(await ground.fresh(f"disk-{row.number}-{kind}"), _image_bytes(plan, row))
        try:
            async with fresh(disk, kind) as point, open_ground(point, kind) as there:
                measured.append(await measured_on(there))
        except DiskError as error:
            refused[kind] = str(error)
        finally:
            disk.image.unlink(missing_ok=True)
    if row.small_files and not measured:
        reason = "; ".join(dict.fromkeys(refused.values())) or "--no-images"
        weak = f"on the file system as it is, not on a fresh one: {reason}"
    else:
        weak = "; ".join(f"not measured on {kind}: {reason}" for kind, reason in refused.items())
    for result in measured or [await measured_on(ground)]:
        await on_result(msgspec.structs.replace(result, weak=weak))


def _check_space(plan: Plan, rows: list[Row[Any]]) -> None:
    """See that there is room: for the sources of a row, the round under way, and all small files ever written."""
    on_images = plan.images and not all(refusal(kind) for kind in KINDS)
    large = small = 0
    for row in rows:
        large = max(large, row.space)
        if row.payload is None:
            continue
        if row.small_files and on_images:
            large = max(large, _image_bytes(plan, row))
        elif row.payload.size > LARGE:
            # The sources, what a round makes of them, and the archive that some peers want to be given them in.
            writers = _writers(plan, row)
            copies = 1 + bool(writers) + any(entry.kind == "peer" for entry in writers)
            large = max(large, row.payload.total * copies)
        else:
            small += _files(plan, row, row.payload)
    check_space(plan.directory, large=large, small=small)


def _image_bytes(plan: Plan, row: Row[Any]) -> int:
    return bytes_needed(_files(plan, row, row.payload) * SMALL_FILE_SPACE if row.payload else row.space)


def _files(plan: Plan, row: Row[Any], payload: Payload) -> int:
    """Return how many files there are at the end of a row: the sources, and those of all rounds."""
    rounds = 1 + sum(_rounds(entry, plan.rounds) * entry.share for entry in _writers(plan, row))
    return int(rounds * payload.count)


def _writers(plan: Plan, row: Row[Any]) -> list[Contestant[Any]]:
    return [entry for entry in row.contestants if entry.durable is not None and (plan.peers or entry.kind != "peer")]


def _rounds(entry: Contestant[Any], rounds: int) -> int:
    """Return how many rounds a contestant takes part in, the warm-up included."""
    return 1 + (rounds if entry.most_rounds is None else min(rounds, entry.most_rounds))
