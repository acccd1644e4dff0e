"""The measured values, as they are written to JSON and read from it, and values that are computed from them.

Sizes are in bytes, times in seconds. Fields may be added in later releases; none is renamed or removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import Any

import msgspec

from steelyard_bench._model import Contestant, Goal, Kind, Over, Row

__all__ = ("ContestantResult", "GoalResult", "Report", "RowResult", "Sample", "judge", "result_of")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one contestant.

    Attributes:
        round: its number, from 1; the warm-up is not kept.
        seconds: how long it took, scaled up to the whole work.
        cpu_seconds: of the process and the programs it ran, on all cores, likewise.
        metrics: what the work measured itself.
    """

    round: int
    seconds: float
    cpu_seconds: float
    metrics: dict[str, float] = {}


class ContestantResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a contestant.

    Attributes:
        missing: why it did not take part, or None.
        failed: what went wrong, or None.
        median_seconds, least_seconds, cpu_seconds: over the rounds; the last is a median.
        each_seconds: the median divided by the number of items.
        ratio_to_h: the median of each round's own ratio to H in the same round.
        metrics: medians of what the work measured itself.
    """

    name: str
    kind: Kind
    durable: bool | None
    section: str
    algorithm: str
    note: str
    items: int
    share: float
    missing: str | None = None
    failed: str | None = None
    median_seconds: float | None = None
    least_seconds: float | None = None
    cpu_seconds: float | None = None
    each_seconds: float | None = None
    ratio_to_h: float | None = None
    metrics: dict[str, float] = {}
    samples: list[Sample] = []

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric of each round."""
        match metric:
            case "seconds":
                return {sample.round: sample.seconds for sample in self.samples}
            case "each_seconds":
                return {sample.round: sample.seconds / self.items for sample in self.samples}
            case _:
                return {sample.round: sample.metrics[metric] for sample in self.samples if metric in sample.metrics}

    def ratio_to(self, other: ContestantResult, metric: str = "seconds", over: Over = "median") -> float | None:
        """Return the median of each round's own ratio to another contestant, over the rounds that both took part in.

        Over the most, it is the ratio of the largest values.
        """
        mine, theirs = self.values(metric), other.values(metric)
        both = [number for number in mine.keys() & theirs.keys() if theirs[number]]
        if not both:
            return None
        if over == "most":
            return max(mine[number] for number in both) / max(theirs[number] for number in both)
        return median(mine[number] / theirs[number] for number in both)


class GoalResult(msgspec.Struct, frozen=True, kw_only=True):
    """A goal, and what came of it.

    Attributes:
        value: the ratio, or the value of the metric; None if it could not be had.
        met: whether the goal is reached; None if there is no value.
        reason: why it is missed where it was recorded; empty if it is not.
    """

    contestant: str
    metric: str
    to: str | None
    at_most: float
    stretch: float | None
    value: float | None
    met: bool | None
    reason: str = ""


class RowResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="bench_row"):
    """The result of a row.

    Attributes:
        filesystem: the kind of the fresh file system that it ran on; None where it ran in the directory itself.
        weak: what makes its numbers weak; empty if nothing does.
    """

    number: int
    title: str
    note: str
    bytes: int | None
    contestants: list[ContestantResult]
    goals: list[GoalResult]
    filesystem: str | None = None
    weak: str = ""

    @property
    def label(self) -> str:
        """The number, and the file system if it is a fresh one: ``4, xfs``."""
        return str(self.number) if self.filesystem is None else f"{self.number}, {self.filesystem}"

    def find(self, name: str) -> ContestantResult:
        """Return the result of a contestant."""
        return next(contestant for contestant in self.contestants if contestant.name == name)


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="bench"):
    """A whole run.

    Attributes:
        at: when it began.
        command: the command line, as it can be typed again.
        backend: the async library.
        divisor: how much smaller than in the table of goals the work was.
        rounds: counted rounds, without the warm-up.
        machine: what the numbers depend on.
        warnings: what makes them weak.
        rows: in the order they ran.
    """

    at: datetime
    command: str
    backend: str
    divisor: int
    rounds: int
    machine: dict[str, Any]
    warnings: list[str]
    rows: list[RowResult]


def result_of(
    contestant: Contestant[Any],
    row: Row[Any],
    samples: Sequence[Sample] = (),
    *,
    missing: str | None = None,
    failed: str | None = None,
    alone: Sequence[Sample] = (),
) -> ContestantResult:
    """Return what a contestant took.

    Args:
        contestant: who.
        row: where.
        samples: its rounds.
        missing: why it did not take part.
        failed: what went wrong.
        alone: the rounds of H.
    """
    items = contestant.items or (row.payload.count if row.payload else 1)
    result = ContestantResult(
        name=contestant.name,
        kind=contestant.kind,
        durable=contestant.durable,
        section=contestant.section,
        algorithm=contestant.algorithm,
        note=contestant.note,
        items=items,
        share=contestant.share,
        missing=missing,
        failed=failed,
        samples=list(samples),
    )
    if not samples:
        return result
    middle = median(sample.seconds for sample in samples)
    h_seconds = {sample.round: sample.seconds for sample in alone}
    ratios = [sample.seconds / h_seconds[sample.round] for sample in samples if sample.round in h_seconds]
    names = {name for sample in samples for name in sample.metrics}
    return msgspec.structs.replace(
        result,
        median_seconds=middle,
        least_seconds=min(sample.seconds for sample in samples),
        cpu_seconds=median(sample.cpu_seconds for sample in samples),
        each_seconds=middle / items,
        ratio_to_h=median(ratios) if ratios else None,
        metrics={name: median(result.values(name).values()) for name in sorted(names)},
    )


def judge(goal: Goal, contestants: Sequence[ContestantResult]) -> GoalResult:
    """Return what came of a goal."""
    found = {contestant.name: contestant for contestant in contestants}
    mine = found.get(goal.contestant)
    value: float | None = None
    if mine is not None and goal.to is not None:
        other = found.get(goal.to)
        value = None if other is None else mine.ratio_to(other, goal.metric, goal.over)
    elif mine is not None and (values := mine.values(goal.metric)):
        value = median(values.values()) if goal.over == "median" else max(values.values())
    return GoalResult(
        contestant=goal.contestant,
        metric=goal.metric,
        to=goal.to,
        at_most=goal.at_most,
        stretch=goal.stretch,
        value=value,
        met=None if value is None else value <= goal.at_most,
        reason=goal.reason,
    )
