"""`bench`: how fast a store is here, beside what the machine could do and what others do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from steelyard._bridge import run
from steelyard.bench import (
    FULL,
    QUICK,
    ROWS,
    Machine,
    Plan,
    Report,
    RowResult,
    Step,
    debug_build,
    leftovers,
    markdown,
    measure_rows,
    svg,
    table,
)
from steelyard.cli.context import Context
from steelyard.cli.explain import UsageError
from steelyard.cli.names import counted
from steelyard.cli.printing import printable, quoted
from steelyard.cli.progress import Meter
from steelyard.errors import SteelyardError

_COUNTS = ("rows", "met", "missed", "unknown")


async def bench(
    *,
    rows: str | None = None,
    quick: bool = False,
    rounds: int = 5,
    directory: Path | None = None,
    no_peers: bool = False,
    json: Path | None = None,
    svg: Path | None = None,
    markdown: Path | None = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Measure a store on this machine and disk, beside yardsticks and other programs.

    Each row is one kind of work. Our contestants do it through the public API; yardsticks, in Rust, do the least that any
    program would have to do; peers are other programs and packages, where they are installed, each with a note on what it
    leaves out. All of them take turns in every round. The unit is H: the time one thread needs for SHA-256 over the same
    bytes, measured in the same rounds. Read ratios, not times.

    The whole takes half an hour and 30 GiB of disk, most of it for row 14; --quick takes a minute and 1 GiB, and says
    less. Everything that is written goes into one new folder and is removed at the end, also after Ctrl-C.

    Args:
        rows: rows by number, such as 1,4 or 1-5; all by default.
        quick: work of a 32nd of the size, to try it.
        rounds: rounds that count, after a warm-up.
        directory: where to write, on the disk in question; the current directory by default.
        no_peers: leave other programs and packages out.
        json: write all that was measured to this file.
        svg: write a plot to this file.
        markdown: write a table of the goals to this file.
        from_: measure nothing; show what --json wrote to this file.
        context: the run.
    """
    outputs = _Outputs(json=json, svg=svg, markdown=markdown)
    turns = Turns()
    # One JSON document holds the whole run as `--json` writes it; JSON Lines are the rows as they come.
    context.begin("rows" if context.out.shape == "jsonl" else "", *_COUNTS, meter=turns)
    if from_ is not None:
        report = await run(_read, from_)
        for row in report.rows:
            await _tell_row(context, row)
        await _conclude(context, report, outputs)
        return
    plan = Plan(
        directory=(directory or Path()).absolute(),
        backend=context.settings.backend_name,
        rows=_numbers(rows),
        rounds=_positive(rounds),
        scale=QUICK if quick else FULL,
        peers=not no_peers,
        command=printable(context.same_command),
    )
    await run(outputs.check)
    _refuse_debug_build()
    turns.later = list(plan.rows)
    told: list[str] = []

    async def on_start(machine: Machine, warnings: list[str]) -> None:
        del machine
        told.extend(warnings)
        for warning in warnings:
            context.note(f"weak: {warning}")
        for folder in await run(leftovers, plan.directory):
            context.note(f"left by a run that was killed, or is under way: rm -r {quoted(str(folder))}")

    async def on_row(row: RowResult) -> None:
        turns.end_row(row.number)
        await _tell_row(context, row)

    report = await measure_rows(plan, on_start=on_start, on_row=on_row, watch=turns.take_step)
    for warning in report.warnings:
        if warning not in told:
            context.conclude(f"weak: {warning}")
    await _conclude(context, report, outputs)


class Turns(Meter):
    """Which row, which round, whose turn, what remains.

    Attributes:
        later: the rows that have not ended, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.later: list[int] = []
        self._step: Step | None = None

    def take_step(self, step: Step) -> None:
        """Take in whose turn it is."""
        self._step = step

    def end_row(self, number: int) -> None:
        """Take in that a row has ended."""
        self.later.remove(number)
        self._step = None

    @property
    def line(self) -> str:
        """The state, in a line."""
        step = self._step
        if step is None:
            return f"making what row {self.later[0]} works on" if self.later else "removing what was written"
        words = [
            f"row {step.row}",
            f"round {step.round} of {step.rounds}" if step.round else "warm-up",
            step.contestant,
        ]
        if step.seconds_left is not None:
            words.append(f"about {step.seconds_left:.0f} s left of this row")
        if later := self.later[1:]:
            words.append(f"then {'row' if len(later) == 1 else 'rows'} {', '.join(map(str, later))}")
        return ", ".join(words)


class ContestantFailed(SteelyardError):
    """One of ours, or a yardstick, could not do the work of a row."""

    code = "contestant_failed"


class _Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """The files to write."""

    json: Path | None
    svg: Path | None
    markdown: Path | None

    def check(self) -> None:
        """See, before half an hour is spent, that the files can be written.

        Raises:
            OSError: one can't.
        """
        for path in (self.json, self.svg, self.markdown):
            if path is not None:
                path.open("ab").close()

    def write(self, report: Report) -> None:
        """Write them."""
        writers: tuple[tuple[Path | None, Callable[[Report], str]], ...] = (
            (self.json, _json),
            (self.svg, svg),
            (self.markdown, markdown),
        )
        for path, make in writers:
            if path is not None:
                path.write_text(make(report), encoding="utf-8")


async def _tell_row(context: Context, row: RowResult) -> None:
    if context.out.shape != "json":
        await context.out.emit(row, table(row))
    for entry in row.contestants:
        if entry.failed is not None and entry.kind != "peer":
            context.fail(ContestantFailed(f"row {row.number}: {entry.name}: {entry.failed}"))


async def _conclude(context: Context, report: Report, outputs: _Outputs) -> None:
    goals = [goal for row in report.rows for goal in row.goals]
    numbers = (len(report.rows), *(sum(goal.met is met for goal in goals) for met in (True, False, None)))
    counts = context.counts = dict(zip(_COUNTS, numbers, strict=True))
    await run(outputs.write, report)
    if context.out.shape == "json":
        await context.out.document(report, "")
    elif context.out.shape == "jsonl":
        await context.out.emit(msgspec.structs.replace(report, rows=[]), "")
    context.conclude(
        f"{counted(counts['rows'], 'row')}: {counted(counts['met'], 'goal')} met, {counts['missed']} missed, "
        f"{counts['unknown']} unknown"
    )


def _numbers(text: str | None) -> tuple[int, ...]:
    """Return the rows that a list such as ``1,4-6`` names, in its order."""
    if text is None:
        return tuple(ROWS)
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            numbers = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            numbers = range(0)
        if not numbers or not all(number in ROWS for number in numbers):
            known = ", ".join(map(str, ROWS))
            raise UsageError(f"--rows {part!r}: expected some of {known}", next_step="steelyard bench --help")
        found |= dict.fromkeys(numbers)
    return tuple(found)


def _positive(rounds: int) -> int:
    if rounds < 1:
        raise UsageError(f"--rounds {rounds}: expected 1 or more", next_step="steelyard bench --help")
    return rounds


def _refuse_debug_build() -> None:
    if debug_build and not os.environ.get("STEELYARD_ALLOW_DEBUG"):
        raise UsageError("the extension is a debug build: its numbers mean nothing", next_step="pip install '.[cli]'")


def _read(path: Path) -> Report:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.DecodeError as error:
        found = f"--from {path}: expected what --json wrote: {error}"
        raise UsageError(found, next_step="steelyard bench --help") from error


def _json(report: Report) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
