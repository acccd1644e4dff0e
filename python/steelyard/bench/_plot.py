"""The plot: for each goal a group of bars, all on one scale whose unit is the goal.

So one line through the whole plot is the goal of every row, and a bar that ends before it has reached it. Bars that would
be longer than the plot are cut, which shows, and say their number. It reads on light and on dark pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from steelyard.bench._model import H
from steelyard.bench._report import goal_text, value_text
from steelyard.bench._results import ContestantResult, GoalResult, Report, RowResult

__all__ = ("svg",)

WIDTH = 960
MARGIN = 32
LABELS = 250
NUMBERS = 120
BAR = 14
LINE = 22
GOAL_AT = 0.3
"""Where the goal is, as a part of the room for bars: what takes up to 3.3 times as long as it may is drawn in full."""

_STYLE = """
  svg { --page: #ffffff; --ink: #1f2328; --soft: #656d76; --rule: #d8dee4; --goal: #cf222e;
    --ours: #0969da; --yardstick: #8c959f; --peer: #bf8700 }
  @media (prefers-color-scheme: dark) {
    svg { --page: #0d1117; --ink: #e6edf3; --soft: #8d96a0; --rule: #30363d; --goal: #ff7b72;
      --ours: #58a6ff; --yardstick: #6e7681; --peer: #d29922 }
  }
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--ink) }
  .title { font-size: 20px; font-weight: 600 }
  .work { font-size: 14px; font-weight: 600 }
  .soft { fill: var(--soft); font-size: 12px }
  .name { text-anchor: end }
  .steelyard { fill: var(--ours); stroke: var(--ours) }
  .yardstick { fill: var(--yardstick); stroke: var(--yardstick) }
  .peer { fill: var(--peer); stroke: var(--peer) }
  .loose { fill-opacity: 0.25 }
  .number { paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round }
  .goal { stroke: var(--goal); stroke-width: 1.5; stroke-dasharray: 4 3 }
  .aim { fill: var(--goal); font-size: 12px }
"""


@dataclass(frozen=True)
class _Bar:
    """One contestant in the group of a goal, and its value in the unit of that goal."""

    entry: ContestantResult
    value: float


def svg(report: Report) -> str:
    """Return a run as an SVG image; rows without goals that no other contestant is compared with are left out."""
    machine = report.machine
    durable = "Full bars are durable or write nothing; pale ones are not durable."
    parts: list[str] = [
        _text(MARGIN, 44, "Steelyard, beside what this machine can do and what others do", "title"),
        _text(MARGIN, 66, f"Shorter is better. The dashed line is the goal of each row. {durable}", "soft"),
        _text(MARGIN, 84, "H: one thread's time for SHA-256 of the same bytes, measured in the same rounds.", "soft"),
        *_legend(106),
    ]
    y = 136
    for row in report.rows:
        for goal in row.goals:
            bars, absent = _bars(row, goal)
            if bars and _is_drawn(goal):
                parts += _group(row, goal, bars, absent, y)
                y += LINE * (len(bars) + bool(absent)) + 52
    where = (
        f"{report.at:%Y-%m-%d} · {machine.get('processor')}, {machine.get('cores')} cores · {machine.get('filesystem')} · "
        f"{report.backend} · {report.rounds} rounds · commit {machine.get('commit') or machine.get('steelyard')}"
    )
    parts.append(_text(MARGIN, y + 6, where, "soft"))
    height = y + 28
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'role="img" aria-labelledby="steelyard-bench">'
    )
    return "\n".join(
        [
            head,
            '<title id="steelyard-bench">Steelyard bench: the time of each contestant in units of the goal</title>',
            f"<style>{_STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" rx="8" fill="var(--page)"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _is_drawn(goal: GoalResult) -> bool:
    """Return whether a goal has a group: what is only "faster than that one" can be seen in the group of another."""
    return goal.to is None or goal.at_most >= 1 or goal.to == H


def _bars(row: RowResult, goal: GoalResult) -> tuple[list[_Bar], list[str]]:
    """Return the bars of a goal, ours first, then the quickest; and the names of those who took no part."""
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


def _group(row: RowResult, goal: GoalResult, bars: Sequence[_Bar], absent: Sequence[str], y: int) -> Iterator[str]:
    room = WIDTH - 2 * MARGIN - LABELS - NUMBERS
    left = MARGIN + LABELS
    at = left + room * GOAL_AT
    yield f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y - 18}" y2="{y - 18}" stroke="var(--rule)"/>'
    section = f", {bars[0].entry.section}" if bars[0].entry.section else ""
    yield _text(MARGIN, y, f"{row.number} · {row.title}{section}", "work")
    yield f'<text x="{WIDTH - MARGIN}" y="{y}" class="aim" text-anchor="end">{escape(goal_text(goal))}</text>'
    top = y + 12
    bottom = top + LINE * len(bars)
    lengths = [max(1.0, bar.value / goal.at_most * GOAL_AT * room) for bar in bars]
    for number, (bar, length) in enumerate(zip(bars, lengths, strict=True)):
        yield from _bar(bar, left, room, length, top + LINE * number)
    yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 2}" y2="{bottom}" class="goal"/>'
    for number, (bar, length) in enumerate(zip(bars, lengths, strict=True)):
        style = "number" if bar.entry.kind == "steelyard" else "soft number"
        yield _text(left + min(room, length) + 8, top + LINE * number + BAR - 3, value_text(goal, bar.value), style)
    if absent:
        yield _text(left, bottom + BAR, f"not here: {', '.join(absent)}", "soft")


def _bar(bar: _Bar, left: float, room: float, length: float, y: int) -> Iterator[str]:
    entry = bar.entry
    name = "sha256 alone (H)" if entry.name == H else entry.name
    yield f'<text x="{left - 10}" y="{y + BAR - 3}" class="name">{escape(name)}</text>'
    note = f"{entry.name}: {entry.note}" if entry.note else entry.name
    loose = " loose" if entry.durable is False else ""
    end, bottom = left + min(room, length), y + BAR
    # One that is cut ends in a point.
    outline = (
        f"H{end:.1f}V{bottom}" if length <= room else f"H{end - 8:.1f}L{end:.1f} {y + BAR / 2}L{end - 8:.1f} {bottom}"
    )
    yield f'<path d="M{left} {y}{outline}H{left}Z" class="{entry.kind}{loose}"><title>{escape(note)}</title></path>'


def _legend(y: int) -> Iterator[str]:
    x = MARGIN
    for kind, words in (
        ("steelyard", "Steelyard"),
        ("yardstick", "yardstick"),
        ("peer", "other programs and packages"),
    ):
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" rx="2" class="{kind}"/>'
        yield _text(x + 18, y, words, "soft")
        x += 44 + 7 * len(words)


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{style}">{escape(words)}</text>'
