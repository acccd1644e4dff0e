"""The command `steelyard-bench`: its options, the event loop it runs on, and its exit codes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import anyio
from cyclopts import App, CycloptsError, Parameter

from steelyard.cli.exits import Exit, exit_of
from steelyard.cli.printing import printable
from steelyard_bench._ground import leftovers
from steelyard_bench._inside import __version__, debug_build, run
from steelyard_bench._machine import Machine
from steelyard_bench._model import FULL, QUICK
from steelyard_bench._output import STDOUT, Outputs, Progress, conclusion, failures, read_report, say
from steelyard_bench._report import table
from steelyard_bench._results import Report, RowResult
from steelyard_bench._rows import ROWS
from steelyard_bench._run import Plan, measure_rows

__all__ = ("main",)

app = App(
    name="steelyard-bench",
    version=__version__,
    help="Measure a store on this machine and disk, beside yardsticks and other programs.",
    result_action="return_value",
)


SIGNALS = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}
"""The signals that end a run, each with its exit code."""


class UsageError(ValueError):
    """The command line asks for something that cannot be done."""


class Interrupted(Exception):
    """A signal ended the run.

    Attributes:
        number: which.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


def main(words: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    # The parser takes a lone dash for an option without a name.
    words = [str(STDOUT) if word == "-" else word for word in (sys.argv[1:] if words is None else words)]
    try:
        code = app(words, exit_on_error=False, print_error=False)
    except (CycloptsError, UsageError) as error:
        say(str(error))
        say("next: steelyard-bench --help")
        return Exit.USAGE
    except Interrupted as error:
        say("interrupted" if error.number is signal.SIGINT else "ended by SIGTERM")
        return SIGNALS[error.number]
    except BrokenPipeError:
        # The interpreter flushes standard output when it ends, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - every other error ends here and is told to a person
        say(f"{type(error).__name__}: {error}")
        return exit_of(error)
    return int(code or 0)


@app.default
def bench(
    *,
    rows: str | None = None,
    quick: bool = False,
    rounds: int = 5,
    directory: Path | None = None,
    backend: Literal["asyncio", "trio"] = "asyncio",
    peers: bool = True,
    images: bool = True,
    json: Path | None = None,
    svg: Path | None = None,
    markdown: Path | None = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
) -> int:
    """Measure a store on this machine and disk, beside yardsticks and other programs.

    Each row is one kind of work. Steelyard does it through its public API. Yardsticks, in Rust, do the least that any
    program would have to do. Peers are other programs and packages, where they are installed, each with a note on what
    it leaves out. All of them take turns in every round. The unit is H: the time one thread needs for SHA-256 over the
    same bytes, measured in the same rounds. Read ratios, not times.

    The whole run takes an hour and 30 GiB of disk, most of it for row 14. With --quick it takes a minute and 1 GiB,
    and says less. Everything is written below one new folder, which is removed at the end, also after Ctrl-C.

    Args:
        rows: rows by number, such as 1,4 or 1-5; all by default.
        quick: do 1/32 of the work, to try the command.
        rounds: rounds that count, after a warm-up.
        directory: where to write, on the disk to measure; the current directory by default.
        backend: the async library to run on.
        peers: measure other programs and packages too.
        images: as root, measure rows of many small files on a fresh ext4 and a fresh xfs, in an image file in the directory;
            with --no-images in the directory itself.
        json: write everything that was measured to this file; - is standard output, in place of the tables.
        svg: write a plot to this file.
        markdown: write a table of the goals to this file.
        from_: measure nothing; show what --json wrote to this file.
    """
    outputs = Outputs(json=json, svg=svg, markdown=markdown)
    if from_ is not None:
        try:
            report = read_report(from_)
        except ValueError as error:
            raise UsageError(str(error)) from error
        for row in report.rows:
            _show(row, outputs)
    else:
        if debug_build and not os.environ.get("STEELYARD_ALLOW_DEBUG"):
            raise UsageError("steelyard is a debug build, so its numbers mean nothing; install it with pip install .")
        plan = Plan(
            directory=(directory or Path()).absolute(),
            backend=backend,
            rows=_numbers(rows),
            rounds=_positive(rounds),
            scale=QUICK if quick else FULL,
            peers=peers,
            images=images,
            command=printable(shlex.join(["steelyard-bench", *sys.argv[1:]])),
        )
        outputs.check()
        report = anyio.run(_measure_until_signal, plan, outputs, backend=backend)
    outputs.write(report)
    say(conclusion(report))
    return Exit.ERROR if any(failures(row) for row in report.rows) else Exit.OK


async def _measure_until_signal(plan: Plan, outputs: Outputs) -> Report:
    """Measure, and cancel the run at a signal, so that the folder it writes in is removed."""
    received: list[signal.Signals] = []
    ended: Report | Exception

    async def watch(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                received.append(number)
                scope.cancel()

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()
        await tasks.start(watch)
        with scope:
            try:
                ended = await _measure(plan, outputs)
            except Exception as error:  # noqa: BLE001 - it is raised below, outside the group
                ended = error
        tasks.cancel_scope.cancel()
    if scope.cancelled_caught:
        raise Interrupted(received[0])
    if isinstance(ended, Exception):
        raise ended
    return ended


async def _measure(plan: Plan, outputs: Outputs) -> Report:
    """Measure the rows, and show each as soon as it has ended."""
    progress = Progress(plan.rows)
    warned: list[str] = []

    async def on_start(_: Machine, warnings: list[str]) -> None:
        warned.extend(warnings)
        for warning in warnings:
            say(f"weak: {warning}")
        for command in await run(leftovers, plan.directory):
            say(f"left by a run that was killed, or is under way: {command}")

    async def on_row(row: RowResult) -> None:
        progress.clear()
        _show(row, outputs)

    try:
        report = await measure_rows(plan, on_start=on_start, on_row=on_row, watch=progress.take_step)
    finally:
        progress.clear()
    for warning in report.warnings:
        if warning not in warned:
            say(f"weak: {warning}")
    return report


def _show(row: RowResult, outputs: Outputs) -> None:
    if not outputs.json_only:
        print(table(row), flush=True)
    for failure in failures(row):
        say(failure)


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
            raise UsageError(f"--rows {part!r}: expected some of {', '.join(map(str, ROWS))}")
        found |= dict.fromkeys(numbers)
    return tuple(found)


def _positive(rounds: int) -> int:
    if rounds < 1:
        raise UsageError(f"--rounds {rounds}: expected 1 or more")
    return rounds
