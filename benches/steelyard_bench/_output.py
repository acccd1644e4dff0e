"""The output of the command: files, the progress line, and messages on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from steelyard_bench._plot import svg
from steelyard_bench._report import markdown
from steelyard_bench._results import Report, RowResult
from steelyard_bench._rounds import Step

__all__ = ("STDOUT", "Outputs", "Progress", "conclusion", "failures", "read_report", "say")

_CLEAR_LINE = "\r\x1b[K"
STDOUT = Path("/dev/stdout")
"""The meaning of a lone dash."""


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """The files to write; `json` may be `STDOUT`."""

    json: Path | None
    svg: Path | None
    markdown: Path | None

    @property
    def json_only(self) -> bool:
        """Whether standard output is for the JSON document alone."""
        return self.json == STDOUT

    def check(self) -> None:
        """Open each file for writing, before an hour is spent.

        Raises:
            OSError: one can't be written.
        """
        for path in (self.json, self.svg, self.markdown):
            if path is not None and path != STDOUT:
                path.open("ab").close()

    def write(self, report: Report) -> None:
        """Write them."""
        writers: tuple[tuple[Path | None, Callable[[Report], str]], ...] = (
            (self.json, _json),
            (self.svg, svg),
            (self.markdown, markdown),
        )
        for path, make in writers:
            if path == STDOUT:
                sys.stdout.write(make(report))
                sys.stdout.flush()
            elif path is not None:
                path.write_text(make(report), encoding="utf-8")


class Progress:
    """One line on a terminal: which row, which round, which contestant, how long the row still takes.

    It changes only between contestants, so that nothing is drawn while one of them is timed.

    Args:
        rows: the rows of the run, in order.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self._rows = list(rows)
        self._shown = sys.stderr.isatty()

    def take_step(self, step: Step) -> None:
        """Show whose turn it is."""
        if not self._shown:
            return
        words = [
            f"row {step.row}{f' on {step.filesystem}' if step.filesystem else ''}",
            f"round {step.round} of {step.rounds}" if step.round else "warm-up",
            step.contestant,
        ]
        if step.seconds_left is not None:
            words.append(f"about {step.seconds_left:.0f} s left of this row")
        if later := self._rows[self._rows.index(step.row) + 1 :]:
            words.append(f"then {'row' if len(later) == 1 else 'rows'} {', '.join(map(str, later))}")
        sys.stderr.write(_CLEAR_LINE + ", ".join(words))
        sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()


def say(text: str) -> None:
    """Write a line to standard error."""
    print(f"steelyard-bench: {text}", file=sys.stderr, flush=True)


def failures(row: RowResult) -> list[str]:
    """Return a sentence for each contestant that failed; a peer's failure is only part of the table."""
    return [
        f"row {row.label}: {entry.name}: {entry.failed}"
        for entry in row.contestants
        if entry.failed is not None and entry.kind != "peer"
    ]


def conclusion(report: Report) -> str:
    """Return how many goals were met."""
    goals = [goal.met for row in report.rows for goal in row.goals]
    count = len({row.number for row in report.rows})
    rows = f"{count} row{'s' * (count != 1)}"
    met = f"{goals.count(True)} goal{'s' * (goals.count(True) != 1)} met"
    return f"{rows}: {met}, {goals.count(False)} missed, {goals.count(None)} unknown"


def read_report(path: Path) -> Report:
    """Read what `--json` wrote.

    Raises:
        OSError: the file can't be read.
        ValueError: it is something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except msgspec.DecodeError as error:
        raise ValueError(f"--from {path}: expected what --json wrote: {error}") from error


def _json(report: Report) -> str:
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
