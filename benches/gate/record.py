"""The record, and how what was found is held against it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from steelyard_bench._machine import cpu_info, look

__all__ = ("RECORD", "TOLERANCE", "Line", "Record", "compare", "is_ratio", "machine", "table")

RECORD = Path(__file__).parent.parent / "gate.json"
TOLERANCE = 1.2

SLACK = 0.01
"""The slack of a count that repeats: a page of a database is much to a value that is next to nothing."""

Verdict = Literal["worse", "better", "as recorded", "not recorded", "not measured"]


class Record(msgspec.Struct, kw_only=True):
    """The contents of `benches/gate.json`.

    Attributes:
        renew: the command that writes a new one.
        counts: hold for every machine.
        ratios: by machine; see `machine`.
    """

    renew: str = ".ci/run gate --record"
    counts: dict[str, float] = {}
    ratios: dict[str, dict[str, float]] = {}

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read it; a file that is not there is an empty record."""
        return msgspec.json.decode(path.read_bytes(), type=cls) if path.exists() else cls()

    def write(self, path: Path) -> None:
        """Write it, as people read it: a count that is whole without a point, or the next record would differ in all."""
        self.counts = {name: int(value) if value == int(value) else value for name, value in self.counts.items()}
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self, order="sorted")) + b"\n")

    def for_machine(self, name: str) -> dict[str, float]:
        """Return what holds for a machine."""
        return self.counts | self.ratios.get(name, {})


@dataclass(frozen=True)
class Line:
    """One value.

    Attributes:
        name: of the value.
        recorded: what it was.
        found: what it is.
        slack: so much more is not worse, whatever the ratio.
    """

    name: str
    recorded: float | None
    found: float | None
    slack: float = SLACK

    @property
    def ratio(self) -> float | None:
        """The ratio of the found value to the recorded one."""
        if self.recorded is None or self.found is None:
            return None
        if self.recorded == 0:
            return 1.0 if self.found == 0 else float("inf")
        return self.found / self.recorded

    @property
    def over(self) -> float:
        """How much the found value is above the recorded one."""
        return (self.found or 0.0) - (self.recorded or 0.0)

    @property
    def verdict(self) -> Verdict:
        """The result of the comparison."""
        if self.ratio is None:
            return "not recorded" if self.recorded is None else "not measured"
        if self.ratio > TOLERANCE:
            return "worse" if self.over > self.slack else "as recorded"
        return "better" if self.ratio < 1 / TOLERANCE else "as recorded"


def compare(
    recorded: Mapping[str, float], found: Mapping[str, float], slacks: Mapping[str, float] | None = None
) -> list[Line]:
    """Hold values against the record, in the order they were found; those that were not come last."""
    names = [*found, *(name for name in recorded if name not in found)]
    slacks = slacks or {}
    return [Line(name, recorded.get(name), found.get(name), slacks.get(name, SLACK)) for name in names]


def is_ratio(name: str) -> bool:
    """Return whether a value is a ratio of two contestants, which holds for one machine only."""
    return " / " in name


def machine(directory: Path) -> str:
    """Name what ratios depend on: the processor with its instructions, and Python.

    Virtual machines give several generations of processors one name, so their numbers are a part of it.
    """
    found, cpu = look(directory), cpu_info()
    numbers = "/".join(cpu.get(key, "-") for key in ("cpu family", "model", "stepping"))
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{found.processor}, {numbers}; {' '.join(found.instructions)}; Python {python}"


def table(lines: list[Line]) -> str:
    """Return lines as a table."""
    width = max((len(line.name) for line in lines), default=0)
    rows = [f"{'':{width}}  {'recorded':>10}  {'found':>10}  {'ratio':>6}"]
    rows += [
        f"{line.name:{width}}  {_number(line.recorded):>10}  {_number(line.found):>10}  {_number(line.ratio):>6}  "
        f"{line.verdict}"
        for line in lines
    ]
    return "\n".join(rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
