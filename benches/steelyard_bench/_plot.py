"""The plot: for each goal a group of bars, all on one scale whose unit is the goal.

So one line through a group is its goal, at the same place in all of them, and a bar that ends before it has reached it. Bars
that would be longer than their room are cut, which shows, and say their number. It reads on light and on dark pages.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from steelyard_bench._model import H
from steelyard_bench._report import goal_text, value_text
from steelyard_bench._results import ContestantResult, GoalResult, Report, RowResult

__all__ = ("svg",)

MARGIN = 24
LABELS = 212
ROOM = 192
NUMBERS = 74
COLUMN = LABELS + ROOM + NUMBERS
GAP = 28
WIDTH = 2 * (MARGIN + COLUMN) + GAP
TOP = 124
BAR = 11
LINE = 17
GOAL_AT = 0.3
"""Where the goal is, as a part of the room for bars: what takes up to 3.3 times as long as it may is drawn in full."""

_TITLE_CHARACTERS = 66

_SHAPES = """
  text { font: 11px system-ui, -apple-system, "Segoe UI", sans-serif }
  .title { font-size: 19px; font-weight: 600 }
  .work { font-size: 12px; font-weight: 600 }
  .name { text-anchor: end }
  .loose { fill-opacity: 0.25 }
  .number { paint-order: stroke; stroke-width: 4px; stroke-linejoin: round }
  .goal { stroke-width: 1.5; stroke-dasharray: 4 3 }
"""

_LIGHT = {
    "page": "#ffffff",
    "ink": "#1f2328",
    "soft": "#656d76",
    "rule": "#d8dee4",
    "goal": "#cf222e",
    "ours": "#0969da",
    "yardstick": "#8c959f",
    "peer": "#bf8700",
}
_DARK = {
    "page": "#0d1117",
    "ink": "#e6edf3",
    "soft": "#8d96a0",
    "rule": "#30363d",
    "goal": "#ff7b72",
    "ours": "#58a6ff",
    "yardstick": "#6e7681",
    "peer": "#d29922",
}


def _colours(of: dict[str, str]) -> str:
    """Rules in plain colours: many programs that draw SVG know no variables."""
    return f"""
  text {{ fill: {of["ink"]} }}
  .page {{ fill: {of["page"]} }}
  .soft {{ fill: {of["soft"]} }}
  .steelyard {{ fill: {of["ours"]}; stroke: {of["ours"]} }}
  .yardstick {{ fill: {of["yardstick"]}; stroke: {of["yardstick"]} }}
  .peer {{ fill: {of["peer"]}; stroke: {of["peer"]} }}
  .number {{ stroke: {of["page"]} }}
  .goal {{ stroke: {of["goal"]} }}
  .aim {{ fill: {of["goal"]} }}
  .rule {{ stroke: {of["rule"]} }}
"""


_STYLE = f"{_SHAPES}{_colours(_LIGHT)}  @media (prefers-color-scheme: dark) {{{_colours(_DARK)}  }}\n"


@dataclass(frozen=True)
class _Bar:
    """One contestant in the group of a goal, and its value in the unit of that goal."""

    entry: ContestantResult
    value: float

    @property
    def name(self) -> str:
        return "sha256 alone (H)" if self.entry.name == H else self.entry.name


@dataclass(frozen=True)
class _Group:
    """A goal, its bars with ours first, and who took no part."""

    row: RowResult
    goal: GoalResult
    bars: Sequence[_Bar]
    absent: str

    @property
    def title(self) -> list[str]:
        section = self.bars[0].entry.section
        words = f"{self.row.label} · {self.row.title}" + (f", {section}" if section else "")
        return textwrap.wrap(words, _TITLE_CHARACTERS)

    @property
    def height(self) -> int:
        return 15 * len(self.title) + 22 + LINE * len(self.bars) + (LINE if self.absent else 0) + 24


def svg(report: Report) -> str:
    """Return a run as an SVG image: a group for each goal but those beside peers, which are in the groups of the others."""
    groups = list(_groups(report))
    half = sum(group.height for group in groups) / 2
    ends = [TOP, TOP]
    parts = [*_head(), *_legend(92)]
    filled = 0
    for group in groups:
        column = int(filled + group.height / 2 > half)
        parts += _drawn(group, MARGIN + column * (COLUMN + GAP), ends[column])
        ends[column] += group.height
        filled += group.height
    machine = report.machine
    where = (
        f"{report.at:%Y-%m-%d} · {machine.get('processor')}, {machine.get('cores')} cores · {machine.get('filesystem')} · "
        f"{report.backend} · {report.rounds} rounds · commit {machine.get('commit') or machine.get('steelyard')}"
    )
    height = max(ends) + 28
    parts.append(_text(MARGIN, height - 14, where, "soft"))
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'role="img" aria-labelledby="steelyard-bench">'
    )
    return "\n".join(
        [
            opening,
            '<title id="steelyard-bench">Steelyard bench: the time of each contestant in units of the goal</title>',
            f"<style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" rx="8" class="page"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _groups(report: Report) -> Iterator[_Group]:
    """Yield the groups; goals of several contestants that would have the same bars and the same line share one."""
    for row in report.rows:
        seen: set[tuple[str, str, str | None, float]] = set()
        for goal in row.goals:
            bars, absent = _bars(row, goal)
            if not bars or any(entry.kind == "peer" for entry in row.contestants if entry.name == goal.to):
                continue
            key = (bars[0].entry.section, goal.metric, goal.to, goal.at_most)
            if key not in seen:
                seen.add(key)
                yield _Group(row, goal, bars, f"not here: {', '.join(absent)}" if absent else "")


def _bars(row: RowResult, goal: GoalResult) -> tuple[list[_Bar], list[str]]:
    """Return the bars of a goal, its contestant's first, then the quickest; and the names of those who took no part."""
    mine = next((entry for entry in row.contestants if entry.name == goal.contestant), None)
    unit = next((entry for entry in row.contestants if entry.name == goal.to), None)
    if mine is None or (goal.to is not None and unit is None):
        return [], []
    bars: list[_Bar] = []
    absent: list[str] = []
    for entry in row.contestants:
        if entry.section != mine.section and entry.name not in {H, goal.to}:
            continue
        values = entry.values(goal.metric).values()
        found = entry.ratio_to(unit, goal.metric) if unit is not None else median(values) if values else None
        if found is not None:
            bars.append(_Bar(entry, found))
        elif not entry.samples:
            absent.append(entry.name)
    return sorted(bars, key=lambda bar: (bar.entry is not mine, bar.value)), absent


def _drawn(group: _Group, x: int, y: int) -> Iterator[str]:
    yield f'<line x1="{x}" x2="{x + COLUMN}" y1="{y - 16}" y2="{y - 16}" class="rule"/>'
    for number, line in enumerate(group.title):
        yield _text(x, y + 15 * number, line, "work")
    y += 15 * len(group.title)
    at, left = x + LABELS + ROOM * GOAL_AT, x + LABELS
    yield f'<text x="{at:.1f}" y="{y + 3}" class="aim" text-anchor="middle">{escape(goal_text(group.goal))}</text>'
    top = y + 9
    bottom = top + LINE * len(group.bars)
    lengths = [max(1.0, bar.value / group.goal.at_most * GOAL_AT * ROOM) for bar in group.bars]
    for number, (bar, length) in enumerate(zip(group.bars, lengths, strict=True)):
        yield from _bar(bar, left, length, top + LINE * number)
    yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 2}" y2="{bottom}" class="goal"/>'
    for number, (bar, length) in enumerate(zip(group.bars, lengths, strict=True)):
        style = "number" if bar.entry.kind == "steelyard" else "soft number"
        words = value_text(group.goal, bar.value)
        yield _text(left + min(ROOM, length) + 6, top + LINE * number + BAR - 1, words, style)
    if group.absent:
        yield _text(x, bottom + BAR, group.absent, "soft")


def _bar(bar: _Bar, left: float, length: float, y: int) -> Iterator[str]:
    entry = bar.entry
    yield f'<text x="{left - 8}" y="{y + BAR - 1}" class="name">{escape(bar.name)}</text>'
    note = f"{entry.name}: {entry.note}" if entry.note else entry.name
    loose = " loose" if entry.durable is False else ""
    end, bottom = left + min(ROOM, length), y + BAR
    # One that is cut ends in a point.
    outline = (
        f"H{end:.1f}V{bottom}" if length <= ROOM else f"H{end - 7:.1f}L{end:.1f} {y + BAR / 2}L{end - 7:.1f} {bottom}"
    )
    yield f'<path d="M{left} {y}{outline}H{left}Z" class="{entry.kind}{loose}"><title>{escape(note)}</title></path>'


def _head() -> Iterator[str]:
    yield _text(MARGIN, 38, "Steelyard, beside what this machine can do and what others do", "title")
    told = "Shorter is better; the dashed line is the goal. Full bars are durable or write nothing, pale ones are not durable."
    yield _text(MARGIN, 58, told, "soft")
    unit = "H: the time one thread needs for SHA-256 over the same bytes, measured in the same rounds."
    yield _text(MARGIN, 73, unit, "soft")


def _legend(y: int) -> Iterator[str]:
    x = MARGIN
    for kind, words in (
        ("steelyard", "Steelyard"),
        ("yardstick", "yardstick"),
        ("peer", "other programs and packages"),
    ):
        yield f'<rect x="{x}" y="{y - 9}" width="10" height="10" rx="2" class="{kind}"/>'
        yield _text(x + 16, y, words, "soft")
        x += 40 + 6 * len(words)


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{style}">{escape(words)}</text>'
