"""A row as a table for people, and a run as a table for a README."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from steelyard_bench._model import H
from steelyard_bench._results import ContestantResult, GoalResult, Report, RowResult
from steelyard_bench._text import ratio, seconds, value

__all__ = ("goal_text", "markdown", "table", "value_text", "verdict")

_DURABLE = {True: "durable", False: "NOT DURABLE", None: "writes nothing"}
_HEADS = ("", "median", "least", "CPU", "× H", "")


def table(row: RowResult) -> str:
    """Return a row as text: who took how long, durable and not durable apart, and what came of the goals."""
    lines = [f"Row {row.number}: {row.title}" + (f", on a fresh {row.filesystem}" if row.filesystem else "")]
    lines += [f"  {row.note}"] if row.note else []
    lines += [f"  weak: {row.weak}"] if row.weak else []
    entries: list[tuple[str, ...]] = []
    for section, durable, group in _groups(row.contestants):
        entries.append((f"{section}, {_DURABLE[durable]}" if section else _DURABLE[durable],))
        entries += [_cells(entry) for entry in group]
    lines += ["", *_aligned([_HEADS, *entries]), ""]
    width = max((len(verdict(goal)) for goal in row.goals), default=0)
    for goal in row.goals:
        lines.append(f"  {verdict(goal):<{width}}  {_description(goal, row)}")
        if goal.met is False and goal.reason:
            lines.append(f"  {'':<{width}}  known: {goal.reason}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def verdict(goal: GoalResult) -> str:
    """Return a word for what came of a goal."""
    return {True: "met", False: "MISSED", None: "unknown"}[goal.met]


def goal_text(goal: GoalResult) -> str:
    """Return a goal as it is said: ``at most 1.10 H``, ``at least 8 times as fast as ctr``, ``at most 5.00 ms``."""
    if goal.to is None:
        said = f"at most {value(goal.at_most, goal.metric)}"
        match goal.metric:
            case "seconds":
                return said
            case "each_seconds":
                return f"{said} each"
            case _:
                return f"{goal.metric.rpartition('_')[0].replace('_', ' ')} {said}"
    if goal.to == H:
        return f"at most {ratio(goal.at_most)} H"
    if goal.at_most < 1:
        return f"at least {1 / goal.at_most:.3g} times as fast as {goal.to}"
    return f"faster than {goal.to}" if goal.at_most == 1 else f"at most {ratio(goal.at_most)} × {goal.to}"


def markdown(report: Report) -> str:
    """Return the goals of a run as Markdown: those of the machine, those beside others, and how it was measured."""
    own = ["| Row | Work | Contestant | Goal | Measured | |", "| --- | --- | --- | --- | --- | --- |"]
    others = [
        "| Row | Steelyard, durable, beside | which | Goal | Measured | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in report.rows:
        for goal in row.goals:
            measured = "–" if goal.value is None else value_text(goal, goal.value)
            rival = next((entry for entry in row.contestants if entry.name == goal.to), None)
            if rival is not None and rival.kind == "peer":
                which = f"is {_DURABLE[rival.durable]}" + (f": {rival.note}" if rival.note else "")
                cells = (row.label, rival.name, which, goal_text(goal), measured, verdict(goal))
                others.append(f"| {' | '.join(cells)} |")
            else:
                cells = (row.label, _work(row, goal), goal.contestant, goal_text(goal), measured, verdict(goal))
                own.append(f"| {' | '.join(cells)} |")
    machine = report.machine
    disk = f"{machine['filesystem']}{' without a journal' if machine['journal'] is False else ''}"
    origin = (
        f"{report.at:%Y-%m-%d}, commit {machine['commit'] or machine['steelyard']}, {machine['processor']}, "
        f"{machine['cores']} cores, {machine['kernel']}, {disk}, {report.backend}, {report.rounds} rounds: "
        f"`{report.command}`"
    )
    known = [
        f"- Row {row.label}, {goal.contestant} {goal_text(goal)}: {goal.reason}"
        for row in report.rows
        for goal in row.goals
        if goal.met is False and goal.reason
    ]
    weak = [f"- Weak: {warning}" for warning in report.warnings]
    parts = [own, others if len(others) > 2 else [], known, [origin], weak]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _work(row: RowResult, goal: GoalResult) -> str:
    section = next((entry.section for entry in row.contestants if entry.name == goal.contestant), "")
    return f"{row.title}, {section}" if section else row.title


def _groups(
    contestants: Sequence[ContestantResult],
) -> Iterator[tuple[str, bool | None, list[ContestantResult]]]:
    """Yield the contestants that may stand in one list: of one section, and durable or not alike."""
    sections = dict.fromkeys(entry.section for entry in contestants if entry.name != H)
    sections |= dict.fromkeys(entry.section for entry in contestants)
    for section in sections:
        for durable in (True, False, None):
            group = [entry for entry in contestants if entry.section == section and entry.durable is durable]
            if group:
                yield section, durable, group


def _cells(entry: ContestantResult) -> tuple[str, ...]:
    notes = [entry.note] if entry.note else []
    if entry.share < 1:
        notes.append(f"did {entry.share:.2g} of the work, scaled up")
    if entry.failed is not None:
        notes.insert(0, f"FAILED: {entry.failed}")
    if entry.median_seconds is None or entry.least_seconds is None or entry.cpu_seconds is None:
        return f"  {entry.name}", "–", "–", "–", "–", "; ".join([*([entry.missing] if entry.missing else []), *notes])
    notes[:0] = [f"{name.rpartition('_')[0].replace('_', ' ')} {value(n, name)}" for name, n in entry.metrics.items()]
    if entry.items > 1 and entry.each_seconds is not None:
        notes.insert(0, f"{seconds(entry.each_seconds)} each")
    return (
        f"  {entry.name}",
        seconds(entry.median_seconds),
        seconds(entry.least_seconds),
        seconds(entry.cpu_seconds),
        "" if entry.ratio_to_h is None else ratio(entry.ratio_to_h),
        "; ".join(notes),
    )


def _aligned(entries: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Lay entries out in columns: names and notes to the left, numbers to the right; one with a single cell is a head."""
    full = [entry for entry in entries if len(entry) > 1]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    for entry in entries:
        if len(entry) == 1:
            yield f"  {entry[0]}"
            continue
        numbers = (f"{cell:>{width}}" for cell, width in zip(entry[1:-1], widths[1:-1], strict=True))
        yield "  " + "  ".join([f"{entry[0]:<{widths[0]}}", *numbers, entry[-1]])


def _description(goal: GoalResult, row: RowResult) -> str:
    said = f"{goal.contestant} {goal_text(goal)}"
    if goal.value is None:
        return f"{said}: {_why_unknown(goal, row)}"
    other = _unlike(goal, row)
    stretch = " (the stretch goal too)" if goal.stretch is not None and goal.value <= goal.stretch else ""
    return f"{said}{other}: {value_text(goal, goal.value)}{stretch}"


def _unlike(goal: GoalResult, row: RowResult) -> str:
    """Say it where a goal compares what is durable with what is not: the goal means it so, a reader must know it."""
    if goal.to is None or goal.to == H:
        return ""
    mine, theirs = row.find(goal.contestant).durable, row.find(goal.to).durable
    return "" if mine is theirs else f" ({_DURABLE[mine]} against {_DURABLE[theirs]})"


def value_text(goal: GoalResult, number: float) -> str:
    """Return a value as a goal counts it: ``1.05 H``, ``2.10 ×``, ``9.3 times as fast``, ``4.20 ms``."""
    if goal.to is None:
        return value(number, goal.metric)
    if goal.to == H:
        return f"{ratio(number)} H"
    return f"{1 / number:.3g} times as fast" if goal.at_most <= 1 else f"{ratio(number)} ×"


def _why_unknown(goal: GoalResult, row: RowResult) -> str:
    for name in (goal.contestant, goal.to):
        entry = next((entry for entry in row.contestants if entry.name == name), None)
        if name is not None and entry is None:
            return f"{name} was left out"
        if entry is not None and not entry.samples:
            return f"{name}: {entry.missing or entry.failed or 'no rounds'}"
    return "not measured"
